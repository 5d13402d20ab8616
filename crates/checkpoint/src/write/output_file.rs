//! An output that is written piece by piece.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Destination, PendingFile, open_stream};
use crate::error::CheckpointError;

/// An output that is written piece by piece, as [`write_atomically`](crate::write_atomically) writes it
/// at once.
///
/// A regular file gets its bytes in [`finish`](Self::finish), and keeps its previous content if the
/// output is dropped before. A device, a FIFO or the standard output gets the bytes as they come.
pub struct OutputFile {
    path: PathBuf,
    to: Sink,
}

enum Sink {
    Pending(BufWriter<PendingFile>),
    Stream(BufWriter<Box<dyn Write + Send>>),
}

impl OutputFile {
    /// Opens the output `path`. Waits for a reader if it is a FIFO.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn create(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::io(path, source);
        let to = match Destination::of(path).map_err(io)? {
            Destination::File(_) => Sink::Pending(BufWriter::new(PendingFile::create(path)?)),
            stream => Sink::Stream(BufWriter::new(open_stream(&stream).map_err(io)?)),
        };
        Ok(Self { path: path.to_owned(), to })
    }

    /// The path of the output.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the complete file to its path, or writes the rest to the stream.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn finish(self) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::io(&self.path, source);
        match self.to {
            Sink::Pending(out) => {
                out.into_inner().map_err(|error| io(error.into_error()))?.finish()
            }
            Sink::Stream(mut out) => out.flush().map_err(io),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            Sink::Pending(out) => out.write(bytes),
            Sink::Stream(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Sink::Pending(out) => out.flush(),
            Sink::Stream(out) => out.flush(),
        }
    }
}

impl fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputFile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_gets_its_bytes_at_the_end_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "before").unwrap();

        let mut dropped = OutputFile::create(&path).unwrap();
        dropped.write_all(b"part").unwrap();
        dropped.flush().unwrap();
        drop(dropped);
        assert_eq!(fs::read(&path).unwrap(), b"before");

        let mut out = OutputFile::create(&path).unwrap();
        out.write_all(b"first, ").unwrap();
        out.write_all(b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        out.finish().unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"first, second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
