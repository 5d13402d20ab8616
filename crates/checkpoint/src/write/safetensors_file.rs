//! Safetensors files, written in order to any stream.

use std::io::{self, Write};

use safetensors::tensor::View;
use serde_json::json;

/// Writes a safetensors file identical to the safetensors crate's. That crate's own function creates a
/// private file with a random name, which remains when the process is killed.
pub(super) fn write_safetensors<V: View>(
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
