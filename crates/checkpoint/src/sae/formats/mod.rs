//! The formats of SAE files, one module each.
//!
//! A new format is a module with a constant `FORMAT`, and a line in the list of `recognise`.

mod circuit_tracer;
mod dictionary_learning;
mod gemma_scope;
mod gemma_scope_2;
mod goodfire;
mod llama_scope;
pub(crate) mod nanochat_sae;
pub(crate) mod nanoscope;
mod openai;
mod qwen_scope;
mod recognise;
mod sae_format;
pub(crate) mod saelens;
pub(crate) mod saelens_provenance;
mod saelens_scaler;
mod sparsify;
mod whole_number;

pub use recognise::{SaeFormatName, UnknownSaeFormat};
#[cfg(feature = "gpt")]
pub(crate) use recognise::{guesses, open_sae_in};
pub(crate) use recognise::{is_sae, layouts, open_sae, unwrapped};
pub(crate) use sae_format::{Folder, file_name};
