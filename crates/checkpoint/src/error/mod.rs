//! The errors of this crate.

mod checkpoint_error;
mod message;
#[cfg(feature = "sae")]
mod sae_file_error;

pub use checkpoint_error::CheckpointError;
pub use message::IoProblem;
#[cfg(feature = "sae")]
pub use sae_file_error::SaeFileError;
