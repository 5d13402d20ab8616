//! Models: finding, describing, loading and saving them.

mod description;
mod families;
mod file_keys;
mod files;
mod find;
mod kind;
mod load;
mod nanochat;
mod native;
mod prefix;
mod transformers;
mod weight_naming;

pub use families::Family;
pub use files::ModelFiles;
pub use kind::ModelKind;
pub use load::{LoadOptions, LoadProgress, LoadedModel};
pub use native::{is_saved_model, save_model, save_model_with_tokenizer};
#[cfg(feature = "sae")] // Only `inspect` looks at it.
pub(crate) use weight_naming::WeightNaming;
