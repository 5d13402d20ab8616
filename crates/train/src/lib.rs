//! Training sparse autoencoders.

mod error;
mod mix;
mod recipe;
mod run;
mod trainer;

pub use error::TrainError;
pub use mix::Mixer;
pub use recipe::{AuxK, BDecInit, Dead, Init, Method, Optimizer, Recipe};
pub use run::{
    ActivationSegments, ConfigError, Difference, HoldOut, Outcome, Progress, Run, RunConfig,
    RunDraft, RunError, RunFolder, Settings, Source, Validation, widths,
};
pub use trainer::{Snapshot, StepReport, Trainer};
