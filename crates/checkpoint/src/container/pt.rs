//! `.pt` files: tensors in a pickled dictionary.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use pytorch_reader::{PickleValue, PytorchReader};

use crate::container::dtype::Dtype;
use crate::container::mapped_tensors::TensorInfo;
use crate::container::torch_zip;
use crate::error::CheckpointError;

/// An opened `.pt` file.
pub(super) struct PtFile {
    path: PathBuf,
    reader: PytorchReader,
    /// The unpickled root. Each tensor in it is represented by the name of its type.
    root: PickleValue,
    pub(super) infos: BTreeMap<String, TensorInfo>,
}

impl PtFile {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let broken = |reason| CheckpointError::Pt { path: path.to_owned(), reason };
        torch_zip::check(path)?;
        let root = PytorchReader::read_pickle_data(path, None).map_err(broken)?;
        if let Some(name) = foreign_object(&root) {
            return Err(CheckpointError::PythonObject {
                path: path.to_owned(),
                name: name.to_owned(),
            });
        }
        let reader = PytorchReader::new(path).map_err(broken)?;
        let file_len =
            fs::metadata(path).map_err(|source| CheckpointError::io(path, source))?.len();
        let mut infos = BTreeMap::new();
        for (name, tensor) in reader.tensors() {
            // A view can repeat a short storage indefinitely. No file we support does that, and
            // nothing is allocated that the file's size does not back.
            if tensor.byte_len() as u64 > file_len {
                return Err(CheckpointError::Oversized {
                    path: path.to_owned(),
                    tensor: name.clone(),
                    claimed: tensor.byte_len() as u64,
                    file_len,
                });
            }
            if let Some(dtype) = Dtype::from_pt(tensor.dtype()) {
                infos.insert(name.clone(), TensorInfo { shape: tensor.shape().to_vec(), dtype });
            }
        }
        Ok(Self { path: path.to_owned(), reader, root, infos })
    }

    /// Returns the entries of the root, if it is a dictionary.
    pub(super) fn entries(&self) -> Option<&HashMap<String, PickleValue>> {
        match &self.root {
            PickleValue::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the bytes of a tensor in row-major order, whatever its strides.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let tensor = self.reader.get(name).expect("infos lists the reader's tensors");
        tensor.read().map_err(|source| CheckpointError::UnreadableTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            source,
        })
    }
}

/// Returns the name of a Python object in `value` that is not known to be harmless.
fn foreign_object(value: &PickleValue) -> Option<&str> {
    match value {
        PickleValue::Unsupported(name) if !torch_zip::is_harmless(name) => Some(name),
        PickleValue::List(items) => items.iter().find_map(foreign_object),
        PickleValue::Dict(entries) => entries.values().find_map(foreign_object),
        _ => None,
    }
}
