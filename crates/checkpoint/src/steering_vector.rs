//! Steering vectors from files.

use std::path::Path;

use crate::container::TensorFile;
use crate::container::finite::first_not_finite;
use crate::error::CheckpointError;

/// The architecture of a GGUF file with control vectors, as written by llama.cpp and repeng.
const ARCHITECTURE: &str = "controlvector";

/// Loads the vector `key` from the file at `path`, which is recognised by its content: safetensors,
/// `torch.save`'s, numpy's `.npz` or `.npy`, or a GGUF file of control vectors by llama.cpp or repeng.
///
/// The vectors in a GGUF file are named `direction.{layer}`, which is the default of `key` there;
/// llama.cpp adds that of layer `N` to `blocks.N.hook_resid_post`. In other files the default is the
/// only tensor.
///
/// # Errors
/// [`CheckpointError::NoSuchVector`] if the tensor does not exist, or if there are several and no
/// `key`; [`CheckpointError::NotAVector`] if its shape is neither `[d]` nor `[1, d]`;
/// [`CheckpointError::NotFinite`]; and any error in the file.
pub fn load_vector(
    path: &Path,
    key: Option<&str>,
    layer: Option<usize>,
) -> Result<Vec<f32>, CheckpointError> {
    let file = TensorFile::open(path)?;
    let architecture = file.gguf_architecture();
    if let Some(other) = architecture.filter(|found| *found != ARCHITECTURE) {
        return Err(CheckpointError::UnknownValue {
            path: path.to_owned(),
            key: "general.architecture",
            found: other.to_owned(),
            known: ARCHITECTURE,
        });
    }
    let known = || file.tensors().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let of_layer = || Some(format!("direction.{}", layer.filter(|_| architecture.is_some())?));
    let name = match (key.map(str::to_owned).or_else(of_layer), known().as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only.clone(),
        (None, _) => {
            let (path, key) = (path.to_owned(), None);
            return Err(CheckpointError::NoSuchVector { path, key, known: known() });
        }
    };
    let Ok(info) = file.info(&name) else {
        let (path, key) = (path.to_owned(), Some(name));
        return Err(CheckpointError::NoSuchVector { path, key, known: known() });
    };
    if !matches!(info.shape[..], [_] | [1, _]) || info.is_empty() {
        let (path, found) = (path.to_owned(), info.shape.clone());
        return Err(CheckpointError::NotAVector { path, tensor: name, found });
    }
    let mut vector = Vec::with_capacity(info.len());
    file.for_each_chunk(&name, &mut |values| vector.extend_from_slice(values))?;
    match first_not_finite(&vector) {
        Some(at) => Err(CheckpointError::NotFinite { path: path.to_owned(), tensor: name, at }),
        None => Ok(vector),
    }
}
