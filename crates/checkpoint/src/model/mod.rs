//! nanochat's models: finding, describing, loading and saving them.

mod files;
mod nanochat;
mod native;
mod transformers;

#[cfg(feature = "sae")] // Only `inspect` looks at it.
pub(crate) use files::Form;
pub use files::{LoadedModel, ModelFiles, Progress};
pub use native::save_model;
