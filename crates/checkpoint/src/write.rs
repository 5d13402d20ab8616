//! Atomic file writes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::tensor::View;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::error::CheckpointError;

/// Writes `bytes` to a temporary file beside `path` and renames it, so that the file is never visible
/// in part, and an error leaves the previous one unchanged.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_file_atomically(path, |temporary| {
        File::options()
            .write(true)
            .open(temporary)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|source| CheckpointError::io(path, source))
    })
}

/// As [`write_atomically`], but `fill` writes the temporary file.
pub(crate) fn write_file_atomically(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let file = temporary_beside(path)?;
    fill(file.path())?;
    persist(file, path)
}

/// Checks, before the work is done, that a file can be written to `path`: that it is not a folder, and
/// that a temporary file can be created beside it.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn check_writable(path: &Path) -> Result<(), CheckpointError> {
    if path.is_dir() {
        return Err(CheckpointError::io(path, io::ErrorKind::IsADirectory.into()));
    }
    temporary_beside(path).map(drop)
}

/// Creates a temporary file in the folder of `path`, which is deleted when it is dropped.
pub(crate) fn temporary_beside(path: &Path) -> Result<NamedTempFile, CheckpointError> {
    // `parent` of a bare file name is empty, in which no file can be created.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // Temporary files are private, but this one becomes an ordinary file. The umask of the process
        // still applies.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(dir).map_err(|source| CheckpointError::io(path, source))
}

/// Renames a complete temporary file to `path`.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let permissions = file.as_file().metadata().map_err(io)?.permissions();
    // Opened again, because `fill` may have replaced the file.
    fs::set_permissions(file.path(), permissions).map_err(io)?;
    File::open(file.path()).and_then(|file| file.sync_all()).map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}

/// Saves `tensors` to the safetensors file at `path`, atomically. The numbers of each tensor are fetched
/// when it is written.
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

/// Writes a safetensors file identical to the safetensors crate's. That crate's own function creates a
/// private file with a random name, which remains when the process is killed.
fn write_safetensors<V: View>(
    mut file: impl Write,
    mut tensors: Vec<(String, V)>,
) -> io::Result<()> {
    // The widest element types come first, so that each tensor is aligned.
    tensors.sort_by(|(a_name, a), (b_name, b)| {
        b.dtype().bitsize().cmp(&a.dtype().bitsize()).then_with(|| a_name.cmp(b_name))
    });
    let (mut header, mut from) = (serde_json::Map::new(), 0);
    for (name, tensor) in &tensors {
        let to = from + tensor.data_len();
        let entry =
            json!({"dtype": tensor.dtype(), "shape": tensor.shape(), "data_offsets": [from, to]});
        header.insert(name.clone(), entry);
        from = to;
    }
    let mut header = serde_json::to_vec(&header).expect("names and numbers are JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (_, tensor) in &tensors {
        file.write_all(&tensor.data())?;
    }
    file.flush()
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
