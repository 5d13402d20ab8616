//! A folder with the objects of a location.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::connection::{Progress, Remote, Watch};
use crate::error::RemoteError;
use crate::location::Location;
use crate::objects::RemoteObject;
use crate::record::Record;

/// A folder that mirrors a location. Only one process at a time has it open.
#[derive(Debug)]
pub struct Mirror {
    dir: PathBuf,
    pub(crate) record: Record,
    /// Locked until it is closed.
    _lock: File,
}

/// The files of a mirror that are not among the objects of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherFiles {
    /// They are deleted.
    Delete,
    /// They stay.
    Keep,
}

/// The objects of an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Updated {
    /// The objects that were downloaded.
    pub downloaded: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The objects that were there already.
    pub unchanged: usize,
    /// The files that were deleted, because their objects are gone.
    pub deleted: usize,
}

/// The names in the folder of a mirror.
const OBJECTS: &str = "objects";
const PARTIAL: &str = "partial";
const LOCK: &str = "lock";
/// The time between two attempts to open a mirror that another process has open.
const WAIT: Duration = Duration::from_millis(200);
/// The room that stays free on the disk, in bytes.
const SPARE_BYTES: u64 = 64 << 20;

impl Mirror {
    /// Opens the mirror of `location` in the folder `dir`, which is created if needed, so that only this user can
    /// read what may have needed credentials. Waits for another process that has it open.
    ///
    /// # Errors
    /// [`RemoteError::Io`]; [`RemoteError::Interrupted`] while waiting.
    pub fn open(dir: &Path, location: &Location, watch: Watch<'_>) -> Result<Self, RemoteError> {
        create_private(dir).map_err(|error| RemoteError::io(dir, error))?;
        for folder in [OBJECTS, PARTIAL] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).map_err(|error| RemoteError::io(&folder, error))?;
        }
        let path = dir.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| RemoteError::io(&path, error))?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(RemoteError::io(&path, error)),
            }
            if watch(Progress { done: 0, total: 0 }).is_break() {
                return Err(RemoteError::Interrupted);
            }
            std::thread::sleep(WAIT);
        }
        let mirror = Self {
            dir: dir.to_owned(),
            record: Record::open(dir, &location.to_string())?,
            _lock: lock,
        };
        // The rest of a process that was killed.
        clear(&mirror.partial())?;
        Ok(mirror)
    }

    /// The folder of the objects, by their names.
    pub fn objects(dir: &Path) -> PathBuf {
        dir.join(OBJECTS)
    }

    /// A folder on the same file system for files that are not whole. It is emptied when the mirror is opened.
    pub fn partial(&self) -> PathBuf {
        self.dir.join(PARTIAL)
    }

    /// Downloads the objects that are new or have changed. Files that are not whole are in the folder `scratch`,
    /// in or beside [`partial`](Self::partial), until they are.
    ///
    /// An error or an interruption leaves the objects that are complete, and another update continues after them.
    ///
    /// # Errors
    /// [`RemoteError::NoRoom`] before anything is downloaded; the faults of a request;
    /// [`RemoteError::Changed`], [`RemoteError::WebPage`], [`RemoteError::Io`], [`RemoteError::Interrupted`].
    pub fn update(
        &mut self,
        remote: &Remote,
        objects: &[RemoteObject],
        others: OtherFiles,
        scratch: &Path,
        watch: Watch<'_>,
    ) -> Result<Updated, RemoteError> {
        let names: BTreeSet<&str> = objects.iter().map(|object| object.name.as_str()).collect();
        let deleted = match others {
            OtherFiles::Delete => self.delete_all_but(&names)?,
            OtherFiles::Keep => 0,
        };
        let is_missing =
            |object: &&RemoteObject| !self.record.is_current(object, &self.path_of(&object.name));
        let missing: Vec<&RemoteObject> = objects.iter().filter(is_missing).collect();
        let bytes = missing.iter().map(|object| object.bytes).fold(0, u64::saturating_add);
        self.check_room(bytes)?;
        if deleted > 0 || !missing.is_empty() {
            let stays = |name: &str| others == OtherFiles::Keep || names.contains(name);
            self.record.rewrite(stays, scratch)?;
        }
        if !missing.is_empty() {
            self.download(remote, &missing, bytes, scratch, watch)?;
        }
        let unchanged = objects.len() - missing.len();
        Ok(Updated { downloaded: missing.len(), bytes, unchanged, deleted })
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(OBJECTS).join(name)
    }

    fn check_room(&self, needed: u64) -> Result<(), RemoteError> {
        let path = self.dir.join(OBJECTS);
        let free = fs4::available_space(&path).map_err(|error| RemoteError::io(&path, error))?;
        let free = free.saturating_sub(SPARE_BYTES);
        if needed > 0 && needed > free {
            return Err(RemoteError::NoRoom { path, needed, free });
        }
        Ok(())
    }

    fn delete_all_but(&self, names: &BTreeSet<&str>) -> Result<usize, RemoteError> {
        let root = self.dir.join(OBJECTS);
        let mut deleted = 0;
        delete_in(&root, "", names, &mut deleted)?;
        Ok(deleted)
    }
}

/// Creates the folder `dir`, which only this user can read, unless it exists.
fn create_private(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(dir)
}

/// Deletes the files in `dir` but for those `names`, and folders that are empty then. `prefix` is the name of the
/// folder below that of the objects.
fn delete_in(
    dir: &Path,
    prefix: &str,
    names: &BTreeSet<&str>,
    deleted: &mut usize,
) -> Result<(), RemoteError> {
    let io = |error| RemoteError::io(dir, error);
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (path, part) = (entry.path(), entry.file_name());
        let name = part.to_str().map(|part| format!("{prefix}{part}"));
        // The type of the entry itself, so that a link is deleted and not followed.
        if entry.file_type().map_err(io)?.is_dir() {
            let inside = name.map_or_else(String::new, |name| format!("{name}/"));
            delete_in(&path, &inside, names, deleted)?;
            // Fails if something is in it, as it should.
            let _ = fs::remove_dir(&path);
        } else if !name.is_some_and(|name| names.contains(name.as_str())) {
            fs::remove_file(&path).map_err(|error| RemoteError::io(&path, error))?;
            *deleted += 1;
        }
    }
    Ok(())
}

/// Deletes everything in the folder `dir`.
fn clear(dir: &Path) -> Result<(), RemoteError> {
    let io = |error| RemoteError::io(dir, error);
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        let is_dir = entry.file_type().map_err(io)?.is_dir();
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    Ok(())
}
