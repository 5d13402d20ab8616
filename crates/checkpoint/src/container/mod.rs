//! Files of named tensors: `.pt`, safetensors, `.npz` and GGUF.

pub(crate) mod convert;
mod gguf;
mod mmap;
pub(crate) mod npz;
#[cfg(feature = "gpt")]
mod shards;
mod tensor_file;
mod torch_zip;
mod transpose;
#[cfg(feature = "sae")]
mod weight_dtype;

pub use convert::Order;
#[cfg(feature = "gpt")]
pub(crate) use shards::{INDEX_FILE, TensorSource, is_index};
pub use tensor_file::{Dtype, TensorFile, TensorInfo};
#[cfg(feature = "sae")]
pub use weight_dtype::WeightDtype;
