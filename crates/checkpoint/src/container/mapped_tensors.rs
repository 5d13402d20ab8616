//! Tensors stored contiguously in a memory-mapped file.

use std::collections::BTreeMap;

use crate::container::dtype::Dtype;
use crate::container::mmap::MappedFile;

/// Replaces each name by the one that `to` returns for it, and removes those for which it returns none.
/// The new names must be distinct.
#[cfg(feature = "sae")]
pub(super) fn rename<T>(named: &mut BTreeMap<String, T>, to: &dyn Fn(&str) -> Option<String>) {
    let renamed = std::mem::take(named).into_iter();
    *named = renamed.filter_map(|(name, one)| Some((to(&name)?, one))).collect();
}

/// The tensors of a memory-mapped file.
#[derive(Debug, Clone)]
pub(crate) struct MappedTensors {
    /// The name of the format, for people.
    pub(crate) format: &'static str,
    pub(crate) file: MappedFile,
    pub(crate) infos: BTreeMap<String, TensorInfo>,
    /// The bytes of each tensor (start and end), row-major and little-endian, if its type is read.
    pub(crate) offsets: BTreeMap<String, (usize, usize)>,
    /// The `general.architecture` of a GGUF file.
    pub(crate) architecture: Option<String>,
}

/// The shape and element type of a tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The shape in the file.
    pub shape: Vec<usize>,
    /// The element type in the file.
    pub dtype: Dtype,
}

impl TensorInfo {
    /// The number of elements. It cannot overflow: a larger tensor is refused when its file is opened.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
