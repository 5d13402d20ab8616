//! Evaluation of sparse autoencoders: reconstruction, sparsity, and the model's loss with the SAE
//! spliced in.
//!
//! ```
//! use nanoscope_corpus::Context;
//! use nanoscope_evaluate::{Group, EvalOptions, EvalTarget, evaluate};
//! use nanoscope_hooks::HookPoint;
//! # use burn::tensor::Tensor;
//! # use nanoscope_runtime::InterpretableModel;
//! # use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
//! # use nanoscope_transformer::{Era, Gpt, GptShape};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = nanoscope_device::for_tests();
//! # let shape = GptShape {
//! #     sequence_len: 32, vocab_size: 50, n_layer: 2, n_head: 2, n_kv_head: 1, n_embd: 32,
//! # };
//! # let gpt = Gpt::random(Era::E6.config(shape, None)?, 7, &device);
//! # let sae = Sae::new(SaeConfig::new(32, 32, Architecture::SignedTopK { k: 4 })?, SaeWeights::new(
//! #     Tensor::eye(32, &device), Tensor::zeros([32], &device),
//! #     Tensor::eye(32, &device), Tensor::zeros([32], &device),
//! # ))?;
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
mod saebench;
mod sparsity;
mod sums;
mod target;

pub use error::EvaluateError;
pub use evaluate::{EvalOptions, Evaluation, evaluate};
pub use metrics::{FEATURE_METRICS, FeatureMetric, Group, METRICS, Metric};
pub use plot::{PlotPoint, plot};
pub use saebench::{RunInfo, details, saebench};
pub use target::EvalTarget;
