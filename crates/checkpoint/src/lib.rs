//! Checkpoints, tokenizers and SAEs from the files that people have, without executing any of them.
//!
//! ```
//! use nanoscope_checkpoint::{WeightDtype, load_sae, save_nanochat_sae};
//! use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
//! # use burn::tensor::Tensor;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = nanoscope_device::for_tests();
//! # let weights = SaeWeights::new(
//! #     Tensor::ones([2, 3], &device), Tensor::zeros([3], &device),
//! #     Tensor::ones([3, 2], &device), Tensor::zeros([2], &device),
//! # );
//! let sae = Sae::new(SaeConfig::new(2, 3, Architecture::Relu)?, weights)?;
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("sae.pt");
//!
//! // A file that nanochat-SAE's `load_saes` reads, and so do we.
//! save_nanochat_sae(&path, &sae, "blocks.0.hook_resid_post".parse()?, None, WeightDtype::F32)?;
//! let loaded = load_sae(&path, &device)?;
//! assert_eq!(loaded.hook()?.to_string(), "blocks.0.hook_resid_post");
//! assert_eq!(loaded.sae.config(), sae.config());
//! # Ok(())
//! # }
//! ```
//!
//! This is the only crate that knows foreign files. It takes them for hostile: a pickle is read as
//! data, sizes are believed only as far as the file backs them, and an error names the file, the
//! tensor, what was expected and what was found. What is done with a model or an SAE is others'
//! business.

#[cfg(feature = "sae")]
mod activations;
#[cfg(feature = "sae")]
mod circuit_tracer;
mod control_vector;
mod convert;
#[cfg(feature = "sae")]
mod dictionary_learning;
mod error;
#[cfg(feature = "sae")]
mod feature_file;
#[cfg(feature = "sae")]
mod find_saes;
mod folder;
#[cfg(feature = "sae")]
mod gemma_scope;
#[cfg(feature = "sae")]
mod gemma_scope_2;
mod gguf;
#[cfg(feature = "sae")]
mod goodfire;
#[cfg(feature = "gpt")]
mod hugging_face;
#[cfg(feature = "gpt")]
mod hugging_face_tokenizer;
#[cfg(all(feature = "gpt", feature = "sae"))]
mod inspect;
mod json;
#[cfg(feature = "sae")]
mod labels;
#[cfg(feature = "sae")]
mod llama_scope;
#[cfg(feature = "sae")]
mod load_saes;
mod mapped;
#[cfg(feature = "gpt")]
mod nanochat;
#[cfg(feature = "gpt")]
mod nanochat_config;
#[cfg(feature = "sae")]
mod nanochat_sae;
#[cfg(feature = "gpt")]
mod nanochat_tokenizer;
#[cfg(feature = "gpt")]
mod native;
#[cfg(feature = "sae")]
mod neuronpedia;
mod npz;
#[cfg(feature = "sae")]
mod openai;
#[cfg(feature = "sae")]
mod path_names;
pub mod pickle;
#[cfg(feature = "sae")]
mod pt_writer;
#[cfg(feature = "sae")]
mod qwen_scope;
#[cfg(all(feature = "gpt", feature = "sae"))]
mod sae_facts;
#[cfg(feature = "sae")]
mod sae_file;
#[cfg(feature = "sae")]
mod saelens;
#[cfg(feature = "sae")]
mod saelens_writer;
#[cfg(feature = "sae")]
mod saved_weight;
#[cfg(feature = "gpt")]
mod shards;
#[cfg(feature = "sae")]
mod sparsify;
mod tensors;
mod torch_zip;
mod turned;
#[cfg(feature = "sae")]
mod weight_dtype;
mod write;
#[cfg(feature = "sae")]
mod yaml;

#[cfg(feature = "sae")]
pub use activations::ActivationFile;
pub use control_vector::load_vector;
pub use convert::Order;
pub use error::CheckpointError;
#[cfg(feature = "sae")]
pub use feature_file::FeatureWriter;
#[cfg(all(feature = "gpt", feature = "sae"))]
pub use inspect::{Inspection, TensorLine, inspect};
#[cfg(feature = "sae")]
pub use labels::{LABELS_FILE, Labels};
#[cfg(feature = "sae")]
pub use load_saes::{LoadedSae, SaePath, load_sae, load_sae_as, load_saes, load_saes_as};
#[cfg(feature = "gpt")]
pub use nanochat::{LoadedModel, ModelFiles, Progress};
#[cfg(feature = "sae")]
pub use nanochat_sae::save_nanochat_sae;
#[cfg(feature = "gpt")]
pub use nanochat_tokenizer::{load_tokenizer, save_tokenizer};
#[cfg(feature = "gpt")]
pub use nanoscope_tokenizer::MergeError;
#[cfg(feature = "gpt")]
pub use native::save_model;
#[cfg(feature = "sae")]
pub use sae_file::Place;
#[cfg(feature = "sae")]
pub use saelens_writer::save_saelens;
pub use tensors::{Dtype, TensorFile, TensorInfo};
#[cfg(feature = "sae")]
pub use weight_dtype::WeightDtype;
pub use write::{
    check_writable, save_tensors, save_tensors_through, write_atomically, write_through,
};
