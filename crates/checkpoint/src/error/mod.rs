//! The errors of this crate.

mod checkpoint_error;
mod message;

pub use checkpoint_error::CheckpointError;
pub use message::IoProblem;
