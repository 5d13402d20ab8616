//! Files to read: those of the file system, and those that a [`MemoryFolder`] holds in memory.
//!
//! All loaders of this crate open, list and look for files by the functions of this module, so that every
//! format that is read from a disk is also read from bytes.

mod memory_folder;
mod open_file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use memory_folder::{MemoryFolder, MemoryFolderError};
pub use open_file::OpenFile;

use memory_folder::{Found, find};

/// The facts about a file or folder that loaders need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// True for a folder.
    pub is_dir: bool,
    /// True for a regular file.
    pub is_file: bool,
    /// The size of a file in bytes.
    pub len: u64,
    /// The time of the last change, if it is known.
    pub modified: Option<SystemTime>,
}

/// Opens the file at `path` to read it.
///
/// # Errors
/// Those of the file system; also if `path` is a folder in memory.
pub fn open(path: &Path) -> io::Result<OpenFile> {
    match find(path) {
        None => fs::File::open(path).map(OpenFile::from),
        Some(Found::File(bytes)) => Ok(OpenFile::from(bytes)),
        Some(Found::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
        Some(Found::Nothing) => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Returns the facts about the file or folder at `path`, or the one that a link there leads to.
///
/// # Errors
/// Those of the file system, [`NotFound`](io::ErrorKind::NotFound) if there is nothing.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let folder = Metadata { is_dir: true, is_file: false, len: 0, modified: None };
    match find(path) {
        None => {
            let found = fs::metadata(path)?;
            let modified = found.modified().ok();
            let (is_dir, is_file) = (found.is_dir(), found.is_file());
            Ok(Metadata { is_dir, is_file, len: found.len(), modified })
        }
        Some(Found::File(bytes)) => {
            let len = bytes.len() as u64;
            Ok(Metadata { is_dir: false, is_file: true, len, ..folder })
        }
        Some(Found::Folder(_)) => Ok(folder),
        Some(Found::Nothing) => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Returns the paths in the folder `dir`, in no particular order.
///
/// # Errors
/// Those of the file system; also if `dir` is a file in memory.
pub fn read_dir(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match find(dir) {
        None => fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect(),
        Some(Found::Folder(names)) => Ok(names.into_iter().map(|name| dir.join(name)).collect()),
        Some(Found::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
        Some(Found::Nothing) => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Returns whether there is a regular file at `path`.
pub fn is_file(path: &Path) -> bool {
    metadata(path).is_ok_and(|found| found.is_file)
}

/// Returns whether there is a folder at `path`.
pub fn is_dir(path: &Path) -> bool {
    metadata(path).is_ok_and(|found| found.is_dir)
}

/// Returns whether there is anything at `path`.
pub fn exists(path: &Path) -> bool {
    metadata(path).is_ok()
}

/// Returns `path` from the root of the file system on. A path into memory has no root.
///
/// # Errors
/// As [`std::path::absolute`].
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    find(path).map_or_else(|| std::path::absolute(path), |_| Ok(path.to_owned()))
}

/// Returns `path` without links. Memory has none.
///
/// # Errors
/// Those of the file system, [`NotFound`](io::ErrorKind::NotFound) if there is nothing.
pub fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    match find(path) {
        None => fs::canonicalize(path),
        Some(Found::Nothing) => Err(io::ErrorKind::NotFound.into()),
        Some(_) => Ok(path.components().collect()),
    }
}
