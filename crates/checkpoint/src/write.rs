//! Files that are there completely or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use safetensors::tensor::View;
use tempfile::NamedTempFile;

use crate::error::CheckpointError;

/// Writes `bytes` to a temporary file beside `path` and renames it, so that nobody ever sees a part
/// of it, and an error leaves what was there before.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_file_atomically(path, |temporary| {
        File::options()
            .write(true)
            .open(temporary)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|source| CheckpointError::io(path, source))
    })
}

/// As [`write_atomically`], with the temporary file filled by `fill`.
pub(crate) fn write_file_atomically(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let file = temporary_beside(path)?;
    fill(file.path())?;
    persist(file, path)
}

/// A temporary file in the folder of `path`, which is gone when it is dropped.
pub(crate) fn temporary_beside(path: &Path) -> Result<NamedTempFile, CheckpointError> {
    // `parent` of a bare file name is empty, which no file can be made in.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // Temporary files are private; this one is going to be an ordinary file, and the process'
        // umask still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(dir).map_err(|source| CheckpointError::io(path, source))
}

/// Gives a temporary file that is complete its name.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let permissions = file.as_file().metadata().map_err(io)?.permissions();
    // Opened anew: whoever filled it may have put another file in its place.
    fs::set_permissions(file.path(), permissions).map_err(io)?;
    File::open(file.path()).and_then(|file| file.sync_all()).map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}

/// Writes `tensors` to the safetensors file at `path`, at once or not at all. Each tensor's numbers
/// are asked for when they are written.
///
/// # Errors
/// [`CheckpointError::Io`], [`CheckpointError::Safetensors`].
pub fn save_tensors<V: View>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, V)>,
) -> Result<(), CheckpointError> {
    write_file_atomically(path, |temporary| {
        safetensors::serialize_to_file(tensors, None, temporary)
            .map_err(|reason| CheckpointError::Safetensors { path: path.to_owned(), reason })
    })
}

/// As [`save_tensors`], with `temporary`, in the same folder, as the file's name until it is
/// complete. A run that is killed leaves that file and no other, and the next one writes over it.
///
/// # Errors
/// [`CheckpointError::Io`], [`CheckpointError::Safetensors`].
pub fn save_tensors_through<V: View>(
    temporary: &Path,
    path: &Path,
    tensors: impl IntoIterator<Item = (String, V)>,
) -> Result<(), CheckpointError> {
    through(temporary, path, || {
        safetensors::serialize_to_file(tensors, None, temporary)
            .map_err(|reason| CheckpointError::Safetensors { path: path.to_owned(), reason })
    })
}

/// Writes `bytes` to `path`, at once or not at all, with `temporary`, in the same folder, as the
/// file's name until it is complete.
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
        // On a full disk its room is needed for something else.
        let _ = fs::remove_file(temporary);
    }
    written
}
