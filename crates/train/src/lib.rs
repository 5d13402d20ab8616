//! Training of sparse autoencoders: batches of activations, a training step for each method, and
//! runs with configuration, checkpoints and evaluation.
//!
//! ```
//! use nanoscope_corpus::InMemoryActivations;
//! use nanoscope_hooks::HookPoint;
//! use nanoscope_train::{AuxK, Method, Mixer, Optimizer, Recipe, Trainer};
//!
//! # fn main() -> Result<(), nanoscope_train::TrainError> {
//! let device = nanoscope_testing::test_device();
//! // Eight activations along two directions.
//! let activations = [1.0, 0.0, 0.0, 2.0].repeat(4);
//! let segments = InMemoryActivations::new(HookPoint::ResidPost(0), 2, activations, 4);
//! let method = Method::TopK { k: 1, aux_k: AuxK::default() };
//! let optimizer = Optimizer { lr: Some(1e-2), ..Optimizer::default() };
//! let recipe = Recipe { batch: 64, optimizer, ..Recipe::new(4, method, 500) };
//!
//! let mut batches = Mixer::new(segments, recipe.batch, recipe.seed, 0)?;
//! let first = batches.first()?;
//! let mut trainer = Trainer::new(&recipe, 2, &first.at[0], &device)?;
//! let mut errors = Vec::new();
//! for _ in 0..recipe.steps {
//!     errors.push(trainer.step(&batches.next_batch()?[0])?.mse);
//! }
//!
//! assert!(errors[499] < errors[0] / 10.0, "{} then {}", errors[0], errors[499]);
//! assert_eq!(trainer.sae().config().d_sae(), 4);
//! # Ok(())
//! # }
//! ```
//!
//! A [`TrainingRun`] trains SAEs at several hook points of one source, in a folder from which an
//! interrupted run can be resumed. This crate does not produce activations (`nanoscope_corpus`
//! does), define what an SAE computes (`nanoscope_sae`), or display progress (the command line).

mod adam;
mod dead_features;
mod error;
mod inference;
mod init;
mod memory;
mod mixer;
mod parameters;
mod pass;
mod recipe;
mod run;
mod schedule;
mod simd;
mod snapshot;
mod trainer;

pub use error::TrainError;
pub use memory::training_bytes;
pub use mixer::Mixer;
pub use recipe::{AuxK, BDecInit, DeadFeatures, Init, Method, Optimizer, Recipe};
pub use run::{
    ActivationsFrom, ConfigError, Difference, HeldOutText, HoldOut, LoggingSettings, Outcome,
    PartialConfig, RunConfig, RunError, RunFolder, TrainProgress, TrainingRun, Validation, widths,
};
pub use snapshot::Snapshot;
pub use trainer::{StepReport, Trainer};
