//! The folders that mirror URLs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nanoscope_checkpoint::TemporaryFolder;
use nanoscope_corpus::{
    collected_from_name, is_store_file, is_text_name, manifest_names, shard_names,
};
use nanoscope_remote::{Location, Mirror, OtherFiles, Progress, Remote, RemoteError, RemoteObject};

use crate::cache::cache_dir;
use crate::terminal::display::{counted, sanitized};
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::DelayedBar;
use crate::terminal::signals::InterruptFlag;

/// The folder of all mirrors in that of the cache.
const FOLDER: &str = "remote";

/// Checks that `path` is the URL of texts that can be read.
pub(super) fn check_text(path: &Path) -> Result<()> {
    let location = location(path)?;
    if location.is_on_web_server() {
        location.check_is_file()?;
    }
    Ok(())
}

/// Mirrors the texts at a URL: one file, or in a bucket all files below a prefix that are named as texts.
pub(super) fn texts(path: &Path, interrupted: &InterruptFlag) -> Result<PathBuf> {
    let location = location(path)?;
    if location.is_on_web_server() {
        let (folder, name) = location.split_name().context("a file has a name")?;
        let open = OpenMirror::new(&folder, &location, Purpose::Texts, interrupted)?;
        return open.finish(&[name.to_owned()], Some(name));
    }
    let open = OpenMirror::new(&location, &location, Purpose::Texts, interrupted)?;
    let found = open.remote.list(&|name| is_text_name(Path::new(name)), &mut open.watch())?;
    let name = found.is_one_object.then(|| found.objects[0].name.clone());
    open.update(&found.objects, name.as_deref())
}

/// Mirrors the store at a URL. A bucket lists its files; on a web server the manifest names the shards, and the
/// name of a part's manifest says how many parts there are.
pub(super) fn store(path: &Path, interrupted: &InterruptFlag) -> Result<PathBuf> {
    let (folder, manifests) = store_folder(path)?;
    let mut open = OpenMirror::new(&folder, &folder, Purpose::Store, interrupted)?;
    if !folder.is_on_web_server() {
        let found = open.remote.list(&is_store_file, &mut open.watch())?;
        return open.update(&found.objects, None);
    }
    let manifests = match manifests {
        Some(names) => names,
        None => manifest_names("manifest.json").context("a store has this manifest")?,
    };
    let objects = match open.remote.find(&manifests, &mut open.watch()) {
        Err(error @ RemoteError::NotFound { .. }) => {
            let hint = "a web server cannot list a store; for one in parts name a manifest, as in \
                        https://HOST/FOLDER/manifest-0-of-8.json";
            return Err(Hint::new(error.to_string(), hint).into());
        }
        objects => objects?,
    };
    open.add(&objects)?;
    let mut names = manifests.clone();
    for name in &manifests {
        names.extend(shard_names(&open.objects().join(name))?);
    }
    // Where the store is from is not needed to read it.
    let origin = [collected_from_name().to_owned()];
    match open.remote.find(&origin, &mut open.watch()) {
        Ok(_) => names.extend(origin),
        Err(RemoteError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    open.finish(&names, None)
}

/// The folder that mirrors the store at a URL, which may not be there.
pub(super) fn kept_folder(path: &Path) -> Result<PathBuf> {
    let (folder, _) = store_folder(path)?;
    Ok(Mirror::objects(&mirror_dir(&folder, Purpose::Store)?))
}

/// The kinds of files that are mirrored from one URL to different folders.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Texts,
    Store,
}

/// A mirror that is open, and the connection to its server.
struct OpenMirror<'a> {
    /// The location as it was given, for messages.
    shown: &'a Location,
    dir: PathBuf,
    remote: Remote,
    mirror: Mirror,
    scratch: TemporaryFolder,
    interrupted: &'a InterruptFlag,
    /// The number of files that were downloaded.
    downloaded: usize,
}

impl<'a> OpenMirror<'a> {
    /// Opens the mirror of `shown`, whose objects are below `folder`.
    fn new(
        folder: &Location,
        shown: &'a Location,
        purpose: Purpose,
        interrupted: &'a InterruptFlag,
    ) -> Result<Self> {
        let dir = mirror_dir(shown, purpose)?;
        let remote = Remote::connect(folder)?;
        let mut calls = 0;
        let mut wait = |_| {
            calls += 1;
            if calls == 5 {
                note(&format!("another process is downloading {shown}; waiting for it"));
            }
            interrupted.control_flow()
        };
        let mirror = Mirror::open(&dir, shown, &mut wait)?;
        let partial = mirror.partial();
        let scratch = TemporaryFolder::create(&partial)
            .with_context(|| format!("could not write to {}", partial.display()))?;
        Ok(Self { shown, dir, remote, mirror, scratch, interrupted, downloaded: 0 })
    }

    fn objects(&self) -> PathBuf {
        Mirror::objects(&self.dir)
    }

    /// A function that stops the work on a signal.
    fn watch(&self) -> impl FnMut(Progress) -> ControlFlow<()> + use<'a> {
        let interrupted = self.interrupted;
        move |_| interrupted.control_flow()
    }

    /// Downloads `objects`, and keeps every other file.
    fn add(&mut self, objects: &[RemoteObject]) -> Result<()> {
        let (scratch, mut watch) = (self.scratch.path(), self.watch());
        let updated =
            self.mirror.update(&self.remote, objects, OtherFiles::Keep, scratch, &mut watch)?;
        self.downloaded += updated.downloaded;
        Ok(())
    }

    /// Finds the objects `names` and downloads them, as [`update`](Self::update) does.
    fn finish(self, names: &[String], one: Option<&str>) -> Result<PathBuf> {
        let objects = self.remote.find(names, &mut self.watch())?;
        self.update(&objects, one)
    }

    /// Downloads `objects` and deletes every other file. Returns the path of the folder, or of the file `one` in it.
    fn update(mut self, objects: &[RemoteObject], one: Option<&str>) -> Result<PathBuf> {
        let bar = DelayedBar::new("downloading", 0, "bytes");
        let mut watch = |progress: Progress| {
            bar.set_of(progress.done, progress.total);
            self.interrupted.control_flow()
        };
        let scratch = self.scratch.path();
        let updated =
            self.mirror.update(&self.remote, objects, OtherFiles::Delete, scratch, &mut watch)?;
        drop(bar);
        self.downloaded += updated.downloaded;
        let path = match one {
            Some(name) => self.objects().join(name),
            None => self.objects(),
        };
        note(&format!(
            "{} is kept in {}: {}, {} downloaded now",
            sanitized(&self.shown.to_string()),
            path.display(),
            counted(objects.len() as u64, "file", "files"),
            self.downloaded,
        ));
        Ok(path)
    }
}

/// The location that a URL names.
fn location(path: &Path) -> Result<Location> {
    let text = path.to_str().context("a URL is UTF-8")?;
    Ok(text.parse()?)
}

/// The folder of a store, and the names of its manifests if the URL names one.
fn store_folder(path: &Path) -> Result<(Location, Option<Vec<String>>)> {
    let location = location(path)?;
    if let Some((folder, name)) = location.split_name()
        && let Some(names) = manifest_names(name)
    {
        return Ok((folder, Some(names)));
    }
    Ok((location, None))
}

/// The folder of the mirror of `location`.
fn mirror_dir(location: &Location, purpose: Purpose) -> Result<PathBuf> {
    let purpose = match purpose {
        Purpose::Texts => "texts",
        Purpose::Store => "store",
    };
    let cache = cache_dir().map_err(|error| {
        let hint = "XDG_CACHE_HOME names the folder for downloads";
        Hint::new(format!("{location} has no place to be kept: {error}"), hint)
    })?;
    Ok(cache.join(FOLDER).join(location.digest(purpose)))
}
