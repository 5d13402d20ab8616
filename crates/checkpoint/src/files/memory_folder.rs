use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

/// The beginning of the first part of every path into memory. The number of the folder follows.
const PREFIX: &str = "memory:";

/// The folders in memory, by the first part of their paths.
static FOLDERS: RwLock<BTreeMap<String, Arc<Files>>> = RwLock::new(BTreeMap::new());

type Files = BTreeMap<PathBuf, Bytes>;

/// A folder of files in memory, for programs that have bytes and no disk.
///
/// Every function of this crate that reads takes the folder's [`path`](Self::path), or a path below it, as it
/// takes one of a disk. The files are there until the folder is dropped; what was loaded from them stays.
///
/// ```
/// use nanoscope_checkpoint::files::MemoryFolder;
/// use nanoscope_checkpoint::load_vector;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let npy = b"\x93NUMPY\x01\x00\x44\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }          \n\
///     \x00\x00\x80\x3f\x00\x00\x00\x40";
/// let folder = MemoryFolder::new([("directions/dog.npy", npy.to_vec())])?;
/// assert_eq!(load_vector(&folder.path().join("directions/dog.npy"), None, None)?, [1.0, 2.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryFolder {
    path: PathBuf,
}

/// The path of a file cannot be one in a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryFolderError {
    /// The path is empty, absolute or leaves the folder.
    #[error("`{path}` is not the path of a file in a folder")]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// The path is that of two files, or of a file and of a folder.
    #[error("there are two files at `{path}`, or a file and a folder")]
    Twice {
        /// The path.
        path: String,
    },
}

impl MemoryFolder {
    /// A folder of `files` with their paths in it, whose parts are separated by `/`.
    ///
    /// # Errors
    /// [`MemoryFolderError`] if a path is empty, absolute, has a part `..`, or is taken already.
    pub fn new<P: AsRef<str>, B: Into<Bytes>>(
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Result<Self, MemoryFolderError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let mut by_path = Files::new();
        for (path, bytes) in files {
            let path = path.as_ref();
            let twice = || MemoryFolderError::Twice { path: path.to_owned() };
            let invalid = || MemoryFolderError::InvalidPath { path: path.to_owned() };
            let inside = inside(Path::new(path)).filter(|inside| !inside.as_os_str().is_empty());
            if by_path.insert(inside.ok_or_else(invalid)?, bytes.into()).is_some() {
                return Err(twice());
            }
        }
        for path in by_path.keys() {
            if let Some(file) = path.ancestors().skip(1).find(|dir| by_path.contains_key(*dir)) {
                return Err(MemoryFolderError::Twice { path: file.to_string_lossy().into_owned() });
            }
        }
        let root = format!("{PREFIX}{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut folders = FOLDERS.write().unwrap_or_else(PoisonError::into_inner);
        folders.insert(root.clone(), Arc::new(by_path));
        Ok(Self { path: root.into() })
    }

    /// The path of the folder, for functions that read files.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        let mut folders = FOLDERS.write().unwrap_or_else(PoisonError::into_inner);
        self.path.to_str().and_then(|root| folders.remove(root));
    }
}

/// The parts of a path within a folder; `None` if it is absolute or leaves the folder.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts)
}

/// A path in memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    File(Bytes),
    /// The names of the files and folders in it.
    Folder(BTreeSet<PathBuf>),
    Nothing,
}

/// Finds `path` in memory. `None` if it does not begin with the path of a folder in memory, so that the file
/// system has it.
pub(super) fn find(path: &Path) -> Option<Found> {
    let mut parts = path.components();
    let Component::Normal(root) = parts.next()? else { return None };
    let root = root.to_str().filter(|root| root.starts_with(PREFIX))?;
    let folders = FOLDERS.read().unwrap_or_else(PoisonError::into_inner);
    let files = Arc::clone(folders.get(root)?);
    drop(folders);
    let inside = inside(parts.as_path());
    Some(inside.map_or(Found::Nothing, |inside| find_in(&files, &inside)))
}

fn find_in(files: &Files, path: &Path) -> Found {
    if let Some(bytes) = files.get(path) {
        return Found::File(bytes.clone());
    }
    let below = files.keys().filter_map(|file| file.strip_prefix(path).ok());
    let names: BTreeSet<PathBuf> = below
        .filter_map(|rest| Some(PathBuf::from(rest.components().next()?.as_os_str())))
        .collect();
    let is_root = path.as_os_str().is_empty();
    if is_root || !names.is_empty() { Found::Folder(names) } else { Found::Nothing }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::{canonicalize, exists, is_dir, is_file, metadata, open, read_dir};
    use super::*;

    fn folder() -> MemoryFolder {
        let files = [("a/b/c.txt", b"abc".to_vec()), ("a/d.txt", Vec::new()), ("./e.txt", vec![7])];
        MemoryFolder::new(files).unwrap()
    }

    #[test]
    fn files_and_folders_are_found_as_on_a_disk() {
        let folder = folder();
        let at = |path: &str| folder.path().join(path);

        assert!(is_dir(folder.path()) && is_dir(&at("a")) && is_dir(&at("a/b/")));
        assert!(is_file(&at("a/b/c.txt")) && is_file(&at("a/./d.txt")) && is_file(&at("e.txt")));
        assert!(!exists(&at("a/b/c")) && !exists(&at("a/b/c.txt/x")) && !exists(&at("a/../e.txt")));
        assert_eq!(metadata(&at("a/b/c.txt")).unwrap().len, 3);
        assert_eq!(read_dir(&at("a")).unwrap(), [at("a/b"), at("a/d.txt")]);
        assert_eq!(read_dir(folder.path()).unwrap(), [at("a"), at("e.txt")]);
        assert_eq!(canonicalize(&at("a/./b")).unwrap(), at("a/b"));
        let mut text = String::new();
        open(&at("a/b/c.txt")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }

    #[test]
    fn what_is_not_there_is_the_error_that_a_disk_gives() {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};

        let folder = folder();
        let at = |path: &str| folder.path().join(path);

        assert_eq!(open(&at("x")).unwrap_err().kind(), NotFound);
        assert_eq!(open(&at("a")).unwrap_err().kind(), IsADirectory);
        assert_eq!(read_dir(&at("e.txt")).unwrap_err().kind(), NotADirectory);
        assert_eq!(read_dir(&at("x")).unwrap_err().kind(), NotFound);
        assert_eq!(metadata(&at("x")).unwrap_err().kind(), NotFound);
        assert_eq!(canonicalize(&at("x")).unwrap_err().kind(), NotFound);
    }

    #[test]
    fn a_folder_that_was_dropped_is_gone() {
        let folder = folder();
        let path = folder.path().to_owned();

        drop(folder);

        assert!(!exists(&path));
    }

    #[test]
    fn paths_that_leave_the_folder_or_are_taken_are_refused() {
        let invalid = |path: &str| MemoryFolderError::InvalidPath { path: path.to_owned() };
        for path in ["", ".", "/etc/passwd", "..", "a/../../b", "a/.."] {
            assert_eq!(MemoryFolder::new([(path, vec![])]).unwrap_err(), invalid(path));
        }
        for (one, two) in [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b/c", "a")] {
            let error = MemoryFolder::new([(one, vec![]), (two, vec![])]).unwrap_err();
            assert!(error.to_string().contains("there are two files at `"), "{one} {two}: {error}");
        }
    }
}
