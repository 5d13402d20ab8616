//! Training sparse autoencoders.

mod error;
mod mix;
mod recipe;
mod trainer;

pub use error::TrainError;
pub use mix::Mixer;
pub use recipe::{AuxK, BDecInit, Dead, Init, Method, Optimizer, Recipe};
pub use trainer::{Snapshot, StepReport, Trainer};
