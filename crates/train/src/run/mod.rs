//! Training runs: configuration, folder, checkpoints, evaluation and curves.

mod checkpoints;
mod config;
mod config_error;
mod config_toml;
mod curves;
mod folder;
mod held_out;
mod keys;
mod metrics;
mod partial_config;
mod provenance;
mod run_error;
mod save_saes;
mod training_run;
mod validate;
mod values;

pub use config::{ActivationsFrom, HoldOut, LoggingSettings, RunConfig};
pub use config_error::{ConfigError, Difference};
pub use folder::RunFolder;
pub use held_out::{HeldOutText, widths};
pub use partial_config::PartialConfig;
pub use run_error::RunError;
pub use training_run::{Outcome, TrainProgress, TrainingRun};
pub use validate::Validation;
