//! nanochat's models: finding, describing, loading and saving them.

mod description;
mod files;
mod find;
mod load;
mod nanochat;
mod native;
mod prefix;
mod transformers;
mod weight_naming;

pub use files::ModelFiles;
pub use load::{LoadOptions, LoadProgress, LoadedModel};
pub use native::save_model;
#[cfg(feature = "sae")] // Only `inspect` looks at it.
pub(crate) use weight_naming::WeightNaming;
