//! Everything around the training step: configuration, folder, checkpoints, evaluation, curves.

mod checkpoints;
mod config;
mod config_error;
mod config_toml;
mod curves;
mod draft;
mod folder;
mod held_out;
mod keys;
mod metrics;
mod run_error;
mod save_saes;
mod training_run;
mod validate;
mod values;

pub use config::{HoldOut, RunConfig, Settings, Source};
pub use config_error::{ConfigError, Difference};
pub use draft::RunDraft;
pub use folder::RunFolder;
pub use held_out::widths;
pub use run_error::RunError;
pub use training_run::{Outcome, Progress, Run};
pub use validate::Validation;
