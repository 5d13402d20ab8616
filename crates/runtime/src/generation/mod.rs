//! Text generation, one sequence at a time or many in shared passes.

mod batch;
mod fluency;
mod generate;
mod json;
mod outcome;
mod prefix_cache;
mod sampling;
mod state;
mod step;

pub use batch::Batch;
pub use fluency::Fluency;
pub use outcome::{Step, StepOutcome};
pub use sampling::Sampling;
pub use state::{EndReason, Generation};
