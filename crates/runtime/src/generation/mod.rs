//! Text generation, one sequence at a time or many in shared passes.

mod batch;
mod generate;
mod json;
mod prefix_cache;
mod sampling;
mod state;
mod step;

pub use batch::Batch;
pub use sampling::Sampling;
pub use state::{EndReason, Generation, Step};
pub use step::StepOutcome;
