//! Training sparse autoencoders.

mod adam;
mod dead;
mod dense_pass;
mod error;
#[cfg(test)]
mod finite_differences;
mod inference;
mod init;
mod mix;
mod parameters;
mod pass;
mod recipe;
mod run;
mod schedule;
mod select;
mod snapshot;
mod sparse_pass;
mod trainer;
mod vector;

pub use error::TrainError;
pub use mix::Mixer;
pub use recipe::{AuxK, BDecInit, Dead, Init, Method, Optimizer, Recipe};
pub use run::{
    ActivationSegments, ConfigError, Difference, HoldOut, Outcome, Progress, Run, RunConfig,
    RunDraft, RunError, RunFolder, Settings, Source, Validation, widths,
};
pub use snapshot::Snapshot;
pub use trainer::{StepReport, Trainer};
