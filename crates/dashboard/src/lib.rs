//! Feature dashboards: a folder of static HTML, and Neuronpedia's import files.
//!
//! [`Dashboard::build`] runs a model on a text twice and collects statistics and examples for the features
//! of one SAE. [`Dashboard::write`] writes the folder, [`Dashboard::write_neuronpedia`] the export, and
//! [`DashboardReader`] reads a folder again, for a server.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use nanoscope_corpus::Context;
//! use nanoscope_dashboard::{Dashboard, Options, PageOptions};
//! # use nanoscope_hooks::HookPoint;
//! # use nanoscope_runtime::InterpretableModel;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = nanoscope_testing::test_device();
//! # let gpt = nanoscope_testing::tiny_gpt(nanoscope_testing::TINY_SHAPE, &device);
//! # let sae = nanoscope_testing::identity_sae(64, 4, &device);
//! # let hook = HookPoint::ResidPost(0);
//! # let model = InterpretableModel::new(gpt).with_sae(hook, sae)?;
//! let text = Context { index: 0, tokens: vec![3, 1, 4, 1, 5], documents: vec![0; 5] };
//! let contexts = || Ok([Ok(text.clone())].into_iter());
//!
//! let options = Options::new(0..64);
//! let mut on = |_| ControlFlow::Continue(());
//! let dashboard = Dashboard::build(&model, hook, &options, contexts, |_, _| None, &mut on)?;
//!
//! assert_eq!((dashboard.tokens, dashboard.features.len()), (5, 64));
//! let folder = tempfile::tempdir()?;
//! let options = PageOptions::new("random", model.tokenizer());
//! let written = dashboard.write(&folder.path().join("pages"), &options)?;
//! assert!(written.page.is_file());
//! # Ok(())
//! # }
//! ```
//!
//! The text comes from `nanoscope-corpus`, models and labels from `nanoscope-checkpoint`. This crate reads
//! only dashboards, treats them as untrusted, and replaces only folders that it wrote.

mod auto_label;
mod bounded;
mod co_activation;
mod dashboard;
mod data_script;
mod error;
mod feature_index;
mod gather;
mod histogram;
mod options;
mod other_saes;
mod read;
mod significant;
mod write;

pub use co_activation::CoActivation;
pub use dashboard::{Dashboard, FeaturePage};
pub use data_script::{pack, unpack};
pub use error::DashboardError;
pub use gather::{Activity, Example, QUANTILES, Quantile};
pub use histogram::Histogram;
pub use nanoscope_index::fingerprint;
pub use options::{Options, Progress, Stage};
pub use other_saes::{FeatureName, OtherSae};
pub use read::{DashboardReader, ExampleText, FeatureSummary};
pub use write::{Export, PageOptions, SteerCommand, Written, check_output_dir, labels_file};
