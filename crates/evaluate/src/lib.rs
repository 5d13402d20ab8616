//! Evaluation of sparse autoencoders: reconstruction, sparsity, and the model's loss with the SAE
//! spliced in.
//!
//! ```
//! use nanoscope_corpus::Context;
//! use nanoscope_evaluate::{Group, EvalOptions, EvalTarget, evaluate};
//! use nanoscope_hooks::HookPoint;
//! # use nanoscope_runtime::InterpretableModel;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = nanoscope_testing::test_device();
//! # let gpt = nanoscope_testing::tiny_gpt(nanoscope_testing::TINY_SHAPE, &device);
//! # let sae = nanoscope_testing::identity_sae(64, 4, &device);
//! # let model = InterpretableModel::new(gpt);
//! let target = EvalTarget::new(&model, "mine", (HookPoint::ResidPost(1), None), sae)?;
//! let contexts = [Ok(Context { index: 0, tokens: vec![3, 1, 4, 1, 5], documents: vec![0; 5] })];
//!
//! let [evaluation] = evaluate(&model, &[target], contexts, EvalOptions::default(), |_| {})?
//!     .try_into()
//!     .unwrap();
//!
//! assert_eq!(evaluation.get(Group::Sparsity, "l0"), 4.0);
//! let clean = evaluation.get(Group::Performance, "ce_loss_without_sae");
//! assert!(evaluation.get(Group::Performance, "ce_loss_with_sae") != clean);
//! # Ok(())
//! # }
//! ```
//!
//! The metrics follow SAELens's `evals.py`, SAEBench's core evaluation, nanochat-SAE's evaluator
//! and a few other tools; [`METRICS`] lists them with their formulas. Sums are accumulated in
//! float64, batch by batch. This crate does no IO and does not read the clock.

mod batches;
mod error;
mod evaluate;
mod geometry;
mod losses;
mod mean;
mod metrics;
mod nanochat_sae;
mod pass;
mod plot;
mod reconstruction;
mod rounding;
mod saebench;
mod sparsity;
mod sums;
mod target;

pub use error::EvaluateError;
pub use evaluate::{EvalOptions, Evaluation, evaluate};
pub use metrics::{FEATURE_METRICS, FeatureMetric, Group, METRICS, Metric};
pub use plot::{PlotPoint, plot};
pub use rounding::{RoundingReport, Subjects, compare_rounded};
pub use saebench::{RunInfo, details, saebench};
pub use target::EvalTarget;
