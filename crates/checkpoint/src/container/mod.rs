//! Files of named tensors: `.pt`, safetensors, `.npz`, `.npy` and GGUF.

pub(crate) mod convert;
mod dtype;
pub(crate) mod finite;
mod float8;
mod gguf;
mod mapped_tensors;
mod mmap;
mod npy;
pub(crate) mod npz;
pub(crate) mod pt;
mod rounded;
pub(crate) mod safetensors;
mod scales;
#[cfg(feature = "gpt")]
mod shards;
pub(crate) mod shared_file;
mod tensor_file;
mod transpose;
mod weight_dtype;

/// The name of a tensor that its file gives none, because it is the only one.
pub(crate) const BARE_TENSOR: &str = "tensor";

pub use convert::Order;
pub use dtype::Dtype;
pub use mapped_tensors::TensorInfo;
pub(crate) use pt::PlainValue;
#[cfg(feature = "gpt")]
pub(crate) use shards::{INDEX_FILE, TensorSource, is_index};
pub use tensor_file::TensorFile;
pub use weight_dtype::{MatrixDtype, WeightDtype};
