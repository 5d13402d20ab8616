//! An open file that is read at explicit places.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::files::{self, OpenFile};

/// An open file. It stays open, so that its header and its data belong together even if another file
/// takes its place.
#[derive(Debug, Clone)]
pub(crate) struct SharedFile {
    file: Arc<Mutex<OpenFile>>,
    len: u64,
}

impl SharedFile {
    /// Opens the file at `path`. Refuses folders, which cannot be read, and pipes, which may never end.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Before opening, because opening a pipe waits for its writer.
        let metadata = files::metadata(path)?;
        if metadata.is_dir {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Self::new(files::open(path)?)
    }

    pub(crate) fn new(file: OpenFile) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file: Arc::new(Mutex::new(file)), len })
    }

    /// The size of the file when it was opened, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `bytes` with those that start at `at`.
    pub(crate) fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.with(|file| {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(bytes)
        })
    }

    /// Returns the first bytes of the file, at most `len`.
    pub(crate) fn start(&self, len: u64) -> io::Result<Vec<u8>> {
        self.with(|file| {
            file.rewind()?;
            let mut start = Vec::new();
            file.take(len).read_to_end(&mut start)?;
            Ok(start)
        })
    }

    /// Calls `with` with the file, whose position is anywhere.
    pub(crate) fn with<T>(&self, with: impl FnOnce(&mut OpenFile) -> T) -> T {
        with(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
