//! safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;

use crate::container::dtype::Dtype;
use crate::container::mapped_tensors::{MappedTensors, TensorInfo};
use crate::container::mmap::MappedFile;
use crate::error::CheckpointError;

/// The name of the format, for people.
pub(crate) const FORMAT: &str = "safetensors";

/// Returns whether a file that starts with these bytes is a safetensors file.
///
/// It starts with the length of its header, followed by the header's brace; a zip, pickle or tar
/// never has a brace after a length that small.
pub(super) fn looks_like(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(|length| {
        u64::from_le_bytes(*length) < (1 << 32)
            && !start.starts_with(b"PK")
            && length[5..] == [0, 0, 0]
    })
}

/// Reads the header of the file at `path`.
pub(super) fn open(path: &Path, file: MappedFile) -> Result<MappedTensors, CheckpointError> {
    let header = SafeTensors::deserialize(file.bytes())
        .map_err(|reason| CheckpointError::Safetensors { path: path.to_owned(), reason })?;
    let start = file.bytes().as_ptr() as usize;
    let (mut infos, mut offsets) = (BTreeMap::new(), BTreeMap::new());
    for (name, view) in header.iter() {
        let from = view.data().as_ptr() as usize - start;
        let dtype = Dtype::from_safetensors(view.dtype());
        infos.insert(name.to_owned(), TensorInfo { shape: view.shape().to_vec(), dtype });
        offsets.insert(name.to_owned(), (from, from + view.data().len()));
    }
    Ok(MappedTensors { format: FORMAT, file, infos, offsets, architecture: None })
}
