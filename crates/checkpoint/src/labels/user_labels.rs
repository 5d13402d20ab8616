//! The labels that people gave the features of an SAE, in files of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::error::CheckpointError;
use crate::labels::feature_labels::{Labels, read_entries};
use crate::labels::sae_identity::sae_identity;
use crate::write::{check_writable, write_atomically};

/// Maximum time to wait for another process that changes the same file.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Labels that people gave the features of one SAE.
///
/// Each file has the format of [`LABELS_FILE`](crate::LABELS_FILE) and belongs to SAE files with one
/// content: its name, `labels-` and 16 hexadecimal digits, is made from it. It lies in the SAE's folder
/// or, where that cannot be written, in nanoscope's folder of the user's data
/// (`$XDG_DATA_HOME/nanoscope/labels`, by default `~/.local/share/nanoscope/labels`; on macOS below
/// `~/Library/Application Support`, on Windows below `%APPDATA%`). All of them are read, and one that
/// was changed later takes precedence. An empty label hides the one that came with the SAE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserLabels {
    /// The files, in the order in which they are tried for writing.
    places: Vec<PathBuf>,
    d_sae: usize,
}

/// A file of labels that is there.
struct LabelFile<'a> {
    path: &'a Path,
    labels: BTreeMap<u32, String>,
}

/// The result of [`UserLabels::update`].
#[derive(Debug)]
pub struct UpdatedLabels {
    /// All labels after the change.
    pub labels: BTreeMap<u32, String>,
    /// The file that has them, or the reason why they could not be written.
    pub saved: Result<PathBuf, CheckpointError>,
}

impl UserLabels {
    /// The labels of the SAE in the file `sae`, which has `d_sae` features.
    ///
    /// The SAE's folder is not used if `is_kept` is false, or if it lies in the user's cache: what is
    /// in there can be deleted at any time.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the SAE cannot be read.
    pub fn of_sae(sae: &Path, d_sae: usize, is_kept: bool) -> Result<Self, CheckpointError> {
        let name = file_name(sae)?;
        let places = sae_folders(sae, is_kept).into_iter().map(|dir| dir.join(&name)).collect();
        Ok(Self { places, d_sae })
    }

    /// The labels in the file `path`, of an SAE with `d_sae` features.
    pub fn at(path: PathBuf, d_sae: usize) -> Self {
        Self { places: vec![path], d_sae }
    }

    /// The labels of an SAE as in [`of_sae`](Self::of_sae), or nothing if there are none. The SAE is
    /// read only if its folders have labels that people gave to any SAE.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`of_sae`](Self::of_sae).
    pub fn find(
        sae: &Path,
        d_sae: usize,
        is_kept: bool,
    ) -> Result<BTreeMap<u32, String>, CheckpointError> {
        if sae_folders(sae, is_kept).iter().any(|dir| has_label_files(dir)) {
            Self::of_sae(sae, d_sae, is_kept)?.read()
        } else {
            Ok(BTreeMap::new())
        }
    }

    /// The labels in the files, by feature.
    ///
    /// # Errors
    /// [`CheckpointError`] if a file is not a file of labels, or names a feature that the SAE does not
    /// have.
    pub fn read(&self) -> Result<BTreeMap<u32, String>, CheckpointError> {
        Ok(self.files()?.into_iter().flat_map(|file| file.labels).collect())
    }

    /// The files that are there with their labels, the one that was changed last at the end.
    fn files(&self) -> Result<Vec<LabelFile<'_>>, CheckpointError> {
        let mut found = Vec::new();
        for path in &self.places {
            if is_there(path) {
                let changed = fs::metadata(path).and_then(|about| about.modified());
                found.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), path.as_path()));
            }
        }
        // The first place is the one that is written, so it wins a tie.
        found.reverse();
        found.sort_by_key(|&(changed, _)| changed);
        let read = |path| Ok(LabelFile { path, labels: read_entries(path, self.d_sae)? });
        found.into_iter().map(|(_, path)| read(path)).collect()
    }

    /// The file that the next change is written to.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if none can be written, with the reason for the first.
    pub fn place(&self) -> Result<&Path, CheckpointError> {
        let mut wrong = None;
        for path in &self.places {
            match can_write(path) {
                Ok(()) => return Ok(path),
                Err(error) => drop(wrong.get_or_insert(error)),
            }
        }
        Err(wrong.unwrap_or_else(no_place))
    }

    /// Sets the labels of some features; `None` removes one.
    ///
    /// The files are read again first, under a lock where the system has one, so the changes of other
    /// processes stay. The result goes to the first file that can be written; if there is none, it is
    /// still returned.
    ///
    /// # Errors
    /// As [`read`](Self::read); nothing is written then.
    pub fn update(
        &self,
        changes: &BTreeMap<u32, Option<String>>,
    ) -> Result<UpdatedLabels, CheckpointError> {
        let mut wrong = None;
        for path in &self.places {
            let dir = path.parent().unwrap_or(Path::new("."));
            let ready = fs::create_dir_all(dir).and_then(|()| lock(dir));
            let _lock = match ready {
                Ok(lock) => lock,
                Err(source) => {
                    wrong.get_or_insert(CheckpointError::io(path, source));
                    continue;
                }
            };
            let labels = self.changed(changes, path)?;
            let json =
                serde_json::to_vec_pretty(&labels).expect("numbers and strings serialise to JSON");
            match write_atomically(path, &json) {
                Ok(()) => return Ok(UpdatedLabels { labels, saved: Ok(path.clone()) }),
                Err(error) => drop(wrong.get_or_insert(error)),
            }
        }
        let labels = self.changed(changes, Path::new(""))?;
        Ok(UpdatedLabels { labels, saved: Err(wrong.unwrap_or_else(no_place)) })
    }

    /// The labels after `changes`, for the file `path`.
    fn changed(
        &self,
        changes: &BTreeMap<u32, Option<String>>,
        path: &Path,
    ) -> Result<BTreeMap<u32, String>, CheckpointError> {
        let (mut labels, mut elsewhere) = (BTreeMap::new(), BTreeSet::new());
        for file in self.files()? {
            if file.path != path {
                elsewhere.extend(file.labels.keys().copied());
            }
            labels.extend(file.labels);
        }
        for (&feature, label) in changes {
            match label {
                Some(label) => drop(labels.insert(feature, label.clone())),
                // It would come back from the other file.
                None if elsewhere.contains(&feature) => {
                    labels.insert(feature, String::new());
                }
                None => drop(labels.remove(&feature)),
            }
        }
        Ok(labels)
    }
}

impl Labels {
    /// Adds labels that people gave, which take precedence; an empty one hides the label that is there.
    pub fn add_user_labels(&mut self, given: BTreeMap<u32, String>) {
        for (feature, label) in given {
            self.set(feature, label);
        }
    }
}

/// The folders for files about the SAE in the file `sae`, in the order in which they are tried: the SAE's own,
/// unless `is_kept` is false or it lies in the user's cache, then nanoscope's folder of the user's data.
pub fn sae_folders(sae: &Path, is_kept: bool) -> Vec<PathBuf> {
    // A link names a file in a folder of its own, for example in a download cache.
    let sae = fs::canonicalize(sae).unwrap_or_else(|_| sae.to_owned());
    let in_cache = |cache: PathBuf| sae.starts_with(fs::canonicalize(&cache).unwrap_or(cache));
    let beside = sae.parent().filter(|_| is_kept && !dirs::cache_dir().is_some_and(in_cache));
    beside.map(Path::to_owned).into_iter().chain(data_folder()).collect()
}

/// nanoscope's folder for labels in the user's data.
fn data_folder() -> Option<PathBuf> {
    let data = dirs::data_dir()?;
    // A system user's home often does not exist on purpose, so it is not created.
    let no_home = |home: PathBuf| data.starts_with(&home) && !home.is_dir();
    if dirs::home_dir().is_some_and(no_home) {
        return None;
    }
    Some(data.join("nanoscope").join("labels"))
}

/// The error of labels that have no place at all.
fn no_place() -> CheckpointError {
    let source = io::Error::new(io::ErrorKind::NotFound, "the user has no folder for data");
    CheckpointError::io(Path::new("nanoscope/labels"), source)
}

fn file_name(sae: &Path) -> Result<String, CheckpointError> {
    let identity = sae_identity(sae).map_err(|source| CheckpointError::io(sae, source))?;
    Ok(format!("labels-{identity}.json"))
}

fn has_label_files(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("labels-")))
}

/// False also if a folder on the way is a file or may not be entered, where nothing was ever written.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}

/// Checks that `path` can be written, or the folder for it created.
fn can_write(path: &Path) -> Result<(), CheckpointError> {
    let mut dir = path.parent();
    while let Some(missing) = dir.filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        dir = missing.parent();
    }
    let name = path.file_name().unwrap_or_default();
    check_writable(&dir.unwrap_or(Path::new(".")).join(name)).map_err(|error| match error {
        CheckpointError::Io { source, .. } => CheckpointError::io(path, source),
        other => other,
    })
}

/// Locks a folder against other processes of ours until the result is dropped. `None` if the system or
/// the file system cannot.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] if another process keeps it locked.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let Ok(file) = File::open(dir) else { return Ok(None) };
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(fs::TryLockError::Error(_)) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D_SAE: usize = 64;

    fn set(labels: &UserLabels, feature: u32, label: &str) -> UpdatedLabels {
        labels.update(&BTreeMap::from([(feature, Some(label.to_owned()))])).unwrap()
    }

    fn one(feature: u32, label: &str) -> BTreeMap<u32, String> {
        BTreeMap::from([(feature, label.to_owned())])
    }

    /// A path that nobody can write, root neither: its folder is a file.
    fn unwritable(dir: &Path) -> PathBuf {
        fs::write(dir.join("file"), "").unwrap();
        dir.join("file").join("labels.json")
    }

    #[test]
    fn labels_lie_beside_their_sae_and_belong_to_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let sae = dir.path().join("sae.safetensors");
        fs::write(&sae, "weights").unwrap();
        let labels = UserLabels::of_sae(&sae, D_SAE, true).unwrap();

        let saved = set(&labels, 3, "a dog").saved.unwrap();

        assert_eq!(saved.parent(), Some(fs::canonicalize(dir.path()).unwrap().as_path()));
        assert_eq!(labels.place().unwrap(), saved);
        assert_eq!(UserLabels::find(&sae, D_SAE, true).unwrap(), one(3, "a dog"));
        // The same SAE under another name, and another one under the same name.
        fs::copy(&sae, dir.path().join("renamed.pt")).unwrap();
        let renamed = UserLabels::find(&dir.path().join("renamed.pt"), D_SAE, true).unwrap();
        assert_eq!(renamed, one(3, "a dog"));
        fs::write(&sae, "other weights").unwrap();
        assert_eq!(UserLabels::find(&sae, D_SAE, true).unwrap(), BTreeMap::new());
    }

    #[test]
    fn the_next_place_is_taken_where_the_first_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let second = dir.path().join("data/nanoscope/labels/labels-1.json");
        let places = vec![unwritable(dir.path()), second.clone()];
        let labels = UserLabels { places, d_sae: D_SAE };

        assert_eq!(labels.place().unwrap(), second);
        assert_eq!(set(&labels, 3, "a dog").saved.unwrap(), second);

        assert_eq!(labels.read().unwrap(), one(3, "a dog"));
    }

    #[test]
    fn without_a_place_the_labels_are_returned_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = UserLabels { places: Vec::new(), d_sae: D_SAE };
        for labels in [UserLabels::at(unwritable(dir.path()), D_SAE), nowhere] {
            let updated = set(&labels, 3, "a dog");

            assert_eq!(updated.labels, one(3, "a dog"));
            assert!(updated.saved.is_err());
            assert!(labels.place().is_err());
        }
    }

    #[test]
    fn of_two_files_the_later_change_counts_in_every_order() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| dir.path().join(name).join("labels.json"));
        let both = UserLabels { places: vec![first.clone(), second.clone()], d_sae: D_SAE };
        let tick = || std::thread::sleep(Duration::from_millis(15));

        set(&UserLabels::at(first, D_SAE), 1, "first, old");
        tick();
        set(&UserLabels::at(second.clone(), D_SAE), 1, "second, new");
        assert_eq!(both.read().unwrap(), one(1, "second, new"));
        tick();
        // The file that is written takes over what the other one has.
        set(&both, 2, "elsewhere");
        assert_eq!(both.read().unwrap()[&1], "second, new");
        tick();
        let removed = BTreeMap::from([(1, None), (2, None)]);
        let updated = both.update(&removed).unwrap();
        assert_eq!(updated.labels, one(1, ""), "hidden in one file, which the other has");
        assert_eq!(both.read().unwrap(), one(1, ""));
    }

    #[test]
    fn no_change_is_lost_when_many_write_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.json");
        std::thread::scope(|scope| {
            for feature in 0..16 {
                let path = path.clone();
                scope.spawn(move || set(&UserLabels::at(path, D_SAE), feature, "given"));
            }
        });

        assert_eq!(UserLabels::at(path, D_SAE).read().unwrap().len(), 16);
    }

    #[test]
    fn a_file_of_something_else_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.json");
        let labels = UserLabels::at(path.clone(), D_SAE);
        for text in ["my thesis", "[1, 2]", r#"{"64": "out of range"}"#, r#"{"1": 7}"#] {
            fs::write(&path, text).unwrap();

            assert!(labels.read().is_err(), "{text}");
            assert!(labels.update(&BTreeMap::from([(1, Some("a".to_owned()))])).is_err(), "{text}");

            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_is_read_as_python_and_people_write_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.json");
        let text = "\u{feff}{\"1\": \"a\\u202eb\", \"2\": NaN, \"3\": null, \"4\": \" \\u200b \"}";
        fs::write(&path, text).unwrap();

        let expected = [(1, "a⟨202E⟩b".to_owned()), (4, "⟨200B⟩".to_owned())];
        assert_eq!(UserLabels::at(path, D_SAE).read().unwrap(), BTreeMap::from(expected));
    }

    #[test]
    fn what_people_gave_takes_precedence_over_what_came() {
        let came = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
        let mut labels = Labels::from(came);

        labels.add_user_labels(BTreeMap::from([(1, "eins".to_owned()), (2, String::new())]));

        assert_eq!(labels.iter().collect::<Vec<_>>(), [(1, "eins")]);
    }
}
