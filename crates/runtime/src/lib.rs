//! A model with its SAEs at hook points: tracking, steering, generation.
//!
//! ```
//! use nanoscope_hooks::HookPoint;
//! use nanoscope_runtime::{InterpretableModel, Plan, Sampling};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = nanoscope_testing::test_device();
//! # let gpt = nanoscope_testing::tiny_gpt(nanoscope_testing::TINY_SHAPE, &device);
//! # let sae = nanoscope_testing::identity_sae(64, 4, &device);
//! let hook = HookPoint::ResidPost(1);
//! let model = InterpretableModel::new(gpt).with_sae(hook, sae)?;
//! let plan = Plan::new()
//!     .track(hook)
//!     .intervene("blocks.1.hook_resid_post:7:multiply:2@generated".parse()?);
//!
//! let mut generation = model.generate(&[3, 1, 4], &plan, &Sampling::greedy(5))?;
//! for step in generation.by_ref() {
//!     let features = &step.features[&hook]; // of this token, at its own position
//!     assert!(features.nnz() <= 4);
//! }
//! assert_eq!(generation.applied()[0].positions, 5);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Plan`] is a value that lists what to track and what to change. The model keeps no hidden
//! state, so nested and concurrent uses cannot disturb each other. This crate does no IO; the
//! `checkpoint` crate reads and writes files.

mod error;
mod features;
mod generation;
mod json;
mod model;
mod pass;
mod run;
mod steering;
#[cfg(test)]
mod test_model;

pub use error::RuntimeError;
pub use features::{
    ActiveFeatures, FeatureStat, FeatureStats, FeatureWeights, LogitEffect, LogitEffectError, Peak,
    logit_effects, logit_effects_on, mean_differences, split_into_contexts,
};
pub use generation::{Batch, EndReason, Fluency, Generation, Sampling, Step, StepOutcome};
pub use model::InterpretableModel;
pub use pass::{InterventionReport, NonFinite, NonFiniteAt};
pub use run::RunOutput;
pub use steering::{
    Condition, Intervention, Op, Plan, PositionRange, Positions, Scale, Splice, SyntaxError,
    Target, VectorName,
};
