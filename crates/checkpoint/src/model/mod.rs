//! Models: finding, describing, loading and saving them.

mod architecture;
mod description;
mod families;
mod files;
mod load;
mod nanochat;
mod native;
mod transformers;
mod weight_naming;

pub use architecture::Architecture;
pub use families::Family;
pub use files::ModelFiles;
pub use load::{LoadOptions, LoadProgress, LoadedModel};
pub use native::save_model;
#[cfg(feature = "sae")] // Only `inspect` looks at it.
pub(crate) use weight_naming::WeightNaming;
