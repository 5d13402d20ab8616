//! Generation of text, one sequence at a time or many in shared passes.

pub(crate) mod batch;
pub(crate) mod prefix_cache;
pub(crate) mod sampling;
pub(crate) mod state;

pub use batch::{Batch, Progress};
pub use sampling::Sampling;
pub use state::{EndReason, Generation, Step};
