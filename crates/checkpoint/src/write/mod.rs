//! Output files: replaced as a whole, or streamed to what is not a regular file.

mod destination;
mod output_file;
mod output_folder;
mod safetensors_file;
mod temporary;

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::View;

use crate::error::CheckpointError;
use destination::{Destination, copy_owner_and_mode, folder, open_stream, stream};

pub use destination::{folder_behind_links, is_stdout};
pub use output_file::OutputFile;
pub(crate) use output_folder::OutputFolder;
pub use output_folder::check_output_folder;
use safetensors_file::write_safetensors;
pub(crate) use temporary::TemporaryFile;
pub use temporary::{TemporaryFolder, check_folder, is_temporary, without_temporaries};

/// Writes `bytes` to the output `path`.
///
/// A regular file is replaced by renaming a complete temporary file beside it: it is never visible in
/// part, an error leaves the previous one unchanged, and its owner and mode stay. A link stays a link,
/// and the file that it names is replaced. To anything else, such as a device or a FIFO, the bytes are
/// written one after another.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_by(path, |out| out.write_all(bytes))
}

/// As [`write_atomically`], but `fill` writes the bytes.
fn write_by(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let mut out = OutputFile::create(path)?;
    fill(&mut out).map_err(|source| CheckpointError::io(path, source))?;
    out.finish()
}

/// As [`write_atomically`], but `fill` writes a temporary file, in which it can seek.
#[cfg(feature = "sae")]
pub(crate) fn write_file_atomically(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let output = PendingFile::create(path)?;
    fill(output.file.path())?;
    output.finish()
}

/// Returns whether the output `path` is a stream, so that nothing can be written beside it.
#[cfg(feature = "sae")]
pub(crate) fn is_stream(path: &Path) -> Result<bool, CheckpointError> {
    let destination = Destination::of(path).map_err(|source| CheckpointError::io(path, source))?;
    Ok(!matches!(destination, Destination::File(_)))
}

/// Checks, before the work is done, that the output `path` can be written: that it is not a folder or
/// a protected file, and that a temporary file can be created beside it.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn check_writable(path: &Path) -> Result<(), CheckpointError> {
    match Destination::of(path).map_err(|source| CheckpointError::io(path, source))? {
        Destination::File(_) => PendingFile::create(path).map(drop),
        Destination::Stream(_) | Destination::Stdout => Ok(()),
    }
}

/// An output that is written to a temporary file, and reaches its destination when it is complete.
#[derive(Debug)]
pub(crate) struct PendingFile {
    path: PathBuf,
    destination: Destination,
    file: TemporaryFile,
}

impl PendingFile {
    pub(crate) fn create(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::io(path, source);
        let destination = Destination::of(path).map_err(io)?;
        let file = beside(&destination)?;
        Ok(Self { path: path.to_owned(), destination, file })
    }

    /// Creates another temporary file in the same folder, for a part of the output.
    #[cfg(feature = "sae")]
    pub(crate) fn scratch(&self) -> Result<TemporaryFile, CheckpointError> {
        beside(&self.destination)
    }

    /// Renames the complete file to its final name, or copies it to the stream.
    pub(crate) fn finish(self) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::io(&self.path, source);
        let Destination::File(target) = &self.destination else {
            // Opened again, because `fill` may have replaced the file.
            let mut written = File::open(self.file.path()).map_err(io)?;
            return stream(&self.destination, |out| io::copy(&mut written, out).map(drop))
                .map_err(io);
        };
        let permissions = self.file.permissions().map_err(io)?;
        fs::set_permissions(self.file.path(), permissions).map_err(io)?;
        copy_owner_and_mode(target, self.file.path()).map_err(io)?;
        File::open(self.file.path()).and_then(|file| file.sync_all()).map_err(io)?;
        self.file.persist(target).map_err(|source| CheckpointError::io(&self.path, source))
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for PendingFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Creates a temporary file beside a regular file, or in the system's temporary folder for a stream.
fn beside(destination: &Destination) -> Result<TemporaryFile, CheckpointError> {
    let dir = match destination {
        Destination::File(target) => folder(target).to_owned(),
        Destination::Stream(_) | Destination::Stdout => std::env::temp_dir(),
    };
    TemporaryFile::create(&dir).map_err(|source| CheckpointError::io(&dir, source))
}

/// Saves `tensors` to the safetensors file at `path`, as [`write_atomically`] does. The numbers of each
/// tensor are fetched when it is written.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_tensors<V: View>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, V)>,
) -> Result<(), CheckpointError> {
    write_by(path, |out| write_safetensors(out, tensors.into_iter().collect()))
}

/// As [`save_tensors`], but the file is named `temporary`, in the same folder, until it is complete. A
/// process that is killed leaves only that file, which the next one overwrites.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_tensors_through<V: View>(
    temporary: &Path,
    path: &Path,
    tensors: impl IntoIterator<Item = (String, V)>,
) -> Result<(), CheckpointError> {
    through(temporary, path, || {
        File::create(temporary)
            .and_then(|file| write_safetensors(BufWriter::new(file), tensors.into_iter().collect()))
            .map_err(|source| CheckpointError::io(path, source))
    })
}

/// Writes `bytes` to `path` atomically. The file is named `temporary`, in the same folder, until it is
/// complete.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn write_through(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    through(temporary, path, || {
        fs::write(temporary, bytes).map_err(|source| CheckpointError::io(path, source))
    })
}

fn through(
    temporary: &Path,
    path: &Path,
    fill: impl FnOnce() -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let written = fill().and_then(|()| {
        File::open(temporary).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(temporary, path).map_err(io)
    });
    if written.is_err() {
        // On a full disk the space is needed for other files.
        let _ = fs::remove_file(temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    #[test]
    fn a_file_written_through_a_temporary_name_is_as_the_safetensors_crate_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, temporary) = (dir.path().join("a"), dir.path().join("a.partial"));
        let (wide, narrow) = ([1; 16], [2; 6]);
        let tensors = || {
            let view = |dtype, shape, data| TensorView::new(dtype, shape, data).unwrap();
            [
                ("b".to_owned(), view(Dtype::BF16, vec![3, 1], &narrow)),
                ("c".to_owned(), view(Dtype::I64, vec![2], &wide)),
                ("a".to_owned(), view(Dtype::I32, vec![4], &wide)),
            ]
        };

        fs::write(&temporary, [0; 1000]).unwrap();
        save_tensors_through(&temporary, &path, tensors()).unwrap();

        let found = fs::read(&path).unwrap();
        assert_eq!(found, safetensors::serialize(tensors(), None).unwrap());
        assert_eq!(SafeTensors::deserialize(&found).unwrap().tensor("b").unwrap().data(), narrow);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
