//! Temporary files and folders, which are deleted when a signal ends the process.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile, TempDir};

/// Deletes every temporary file and folder of this process and calls `then`. No other thread creates
/// one, or moves one to its final name, before `then` has returned; a caller that ends the process in
/// `then` therefore leaves complete files only.
pub fn without_temporaries<T>(then: impl FnOnce() -> T) -> T {
    let mut unfinished = unfinished();
    for path in std::mem::take(&mut *unfinished) {
        delete(&path);
    }
    let result = then();
    drop(unfinished);
    result
}

fn delete(path: &Path) {
    // A file that cannot be deleted now stays; there is nobody to report it to.
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// The beginning of the names of temporary files and folders.
const PREFIX: &str = ".nanoscope-tmp-";

/// Returns whether `name` is that of a temporary file or folder of this crate, which a killed process leaves behind.
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// The paths of the temporary files and folders that exist.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

pub(super) fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file, deleted when it is dropped and when a signal ends the process.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    file: NamedTempFile,
    _listed: Listed,
}

impl TemporaryFile {
    /// Creates a file in `dir`, with the permissions of an ordinary file.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        let mut unfinished = unfinished();
        let file = builder(0o666).tempfile_in(dir)?;
        let listed = Listed::new(&mut unfinished, file.path());
        Ok(Self { file, _listed: listed })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The permissions that the file was created with.
    pub(super) fn permissions(&self) -> io::Result<Permissions> {
        Ok(self.file.as_file().metadata()?.permissions())
    }

    /// Renames the file to `path`.
    pub(super) fn persist(self, path: &Path) -> io::Result<()> {
        let unfinished = unfinished();
        let Self { file, _listed: listed } = self;
        let persisted = file.persist(path);
        drop(unfinished);
        drop(listed);
        persisted.map(drop).map_err(|error| error.error)
    }
}

impl io::Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl io::Seek for TemporaryFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl io::Read for TemporaryFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

/// Checks that files can be created in the folder `dir`. The file has no name where the system has such files, so that
/// nothing stays behind even if the process is killed.
///
/// # Errors
/// Those of the file system, without the path of the file, which nobody asked for.
pub fn check_folder(dir: &Path) -> io::Result<()> {
    tempfile::tempfile_in(dir).map(drop).map_err(|error| error.kind().into())
}

/// A temporary folder, deleted with its content when it is dropped and when a signal ends the process.
#[derive(Debug)]
pub struct TemporaryFolder {
    dir: TempDir,
    _listed: Listed,
}

impl TemporaryFolder {
    /// Creates a folder in `parent` that other users can read as far as the umask permits.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(parent: &Path) -> io::Result<Self> {
        Self::with_mode(parent, 0o777)
    }

    /// Creates a folder in `parent` that only this user can read.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create_private(parent: &Path) -> io::Result<Self> {
        Self::with_mode(parent, 0o700)
    }

    fn with_mode(parent: &Path, mode: u32) -> io::Result<Self> {
        let mut unfinished = unfinished();
        let dir = builder(mode).tempdir_in(parent)?;
        let listed = Listed::new(&mut unfinished, dir.path());
        Ok(Self { dir, _listed: listed })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Keeps the folder and returns its path.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

/// An entry in the list of temporary paths.
#[derive(Debug)]
struct Listed(PathBuf);

impl Listed {
    fn new(unfinished: &mut BTreeSet<PathBuf>, path: &Path) -> Self {
        unfinished.insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

#[cfg_attr(not(unix), allow(unused_variables, unused_mut))]
fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        // Temporary files are private by default, but these become ordinary ones. The umask of the
        // process still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(Permissions::from_mode(mode));
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finished_is_listed_and_can_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let listed = || -> Vec<PathBuf> {
            unfinished().iter().filter(|path| path.starts_with(dir.path())).cloned().collect()
        };
        let file = TemporaryFile::create(dir.path()).unwrap();
        let folder = TemporaryFolder::create(dir.path()).unwrap();
        fs::write(folder.path().join("inside"), "").unwrap();
        let finished = TemporaryFile::create(dir.path()).unwrap();
        assert_eq!(listed().len(), 3);
        assert!(listed().iter().all(|path| is_temporary(path.file_name().unwrap())));

        finished.persist(&dir.path().join("finished")).unwrap();
        assert_eq!(listed().len(), 2);
        for path in listed() {
            delete(&path);
        }

        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["finished"]);
        drop((file, folder));
        assert!(listed().is_empty());
    }
}
