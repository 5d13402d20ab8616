//! Files that are there completely or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::tensor::View;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::error::CheckpointError;

/// Writes `bytes` to a temporary file beside `path` and renames it, so that nobody ever sees a part
/// of it, and an error leaves what was there before.
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

/// As [`write_atomically`], with the temporary file filled by `fill`.
pub(crate) fn write_file_atomically(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let file = temporary_beside(path)?;
    fill(file.path())?;
    persist(file, path)
}

/// Whether a file could be written to `path` now, to know before the work is done: a temporary one
/// beside it can be made, and it is no folder.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn check_writable(path: &Path) -> Result<(), CheckpointError> {
    if path.is_dir() {
        return Err(CheckpointError::io(path, io::ErrorKind::IsADirectory.into()));
    }
    temporary_beside(path).map(drop)
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

/// Writes a safetensors file as the safetensors crate does. That one's own function goes through a
/// file with a random name, which stays when the process is killed, and makes it private.
fn write_safetensors<V: View>(
    mut file: impl Write,
    mut tensors: Vec<(String, V)>,
) -> io::Result<()> {
    // The widest numbers first, so that each tensor is aligned.
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

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    #[test]
    fn a_file_written_through_a_name_of_its_own_is_as_the_safetensors_crate_writes_it() {
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
