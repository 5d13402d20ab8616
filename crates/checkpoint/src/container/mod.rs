//! Files of named tensors: `.pt`, safetensors, `.npz` and GGUF.

pub(crate) mod convert;
mod dtype;
mod gguf;
mod mapped_tensors;
mod mmap;
pub(crate) mod npz;
pub(crate) mod pt;
pub(crate) mod safetensors;
#[cfg(feature = "gpt")]
mod shards;
mod tensor_file;
mod transpose;
#[cfg(feature = "sae")]
mod weight_dtype;

pub use convert::Order;
pub use dtype::Dtype;
pub use mapped_tensors::TensorInfo;
pub(crate) use pt::PlainValue;
#[cfg(feature = "gpt")]
pub(crate) use shards::{INDEX_FILE, TensorSource, is_index};
pub use tensor_file::TensorFile;
#[cfg(feature = "sae")]
pub use weight_dtype::WeightDtype;
