//! Attribution: the features that made a token likely, and the features that made a feature.
//!
//! ```
//! use nanoscope_attribute::{Attribution, Metric, Question};
//! use nanoscope_hooks::HookPoint;
//! use nanoscope_runtime::InterpretableModel;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = nanoscope_testing::test_device();
//! # let gpt = nanoscope_testing::tiny_gpt(nanoscope_testing::TINY_SHAPE, &device);
//! # let sae = nanoscope_testing::identity_sae(64, 4, &device);
//! let model = InterpretableModel::new(gpt).with_sae(HookPoint::ResidPost(0), sae)?;
//! let metric = Metric::LogitDiff { target: 7, contrast: 9 };
//!
//! let attribution = Attribution::new(&model, &Question::new(vec![3, 1, 4, 1, 5], metric))?;
//! let strongest = attribution.strongest(3);
//! let exact = attribution.ablate(&strongest)?;
//! for (&row, exact) in strongest.iter().zip(exact) {
//!     let feature = attribution.features()[row];
//!     println!("{} {}: {} {exact}", feature.position, feature.feature, feature.attribution);
//! }
//! assert_eq!(attribution.hooks()[0].active, 5 * 4);
//! # Ok(())
//! # }
//! ```
//!
//! An [`Attribution`] is one forward and one backward pass. Its methods compute more about the same text:
//! exact ablations, direct effects on the logits, integrated gradients, how much of the metric the strongest features
//! carry. [`Graph`] joins features to each other, and [`logit_lens`] reads the residual stream.
//!
//! This crate does no IO and changes no weight. Names of features belong to the caller.

mod ablation;
mod attribution;
mod direct;
mod error;
mod faithfulness;
mod graph;
mod integrated;
mod lens;
mod metric;
mod pass;
mod question;
mod report;
mod source;
mod token;

pub use attribution::{Attribution, FeatureEffect, HookTerms};
pub use direct::{Direct, DirectComponent, DirectEffect, DirectFeature};
pub use error::AttributeError;
pub use faithfulness::{Faithfulness, Kept, Rest};
pub use graph::{Graph, GraphAbout, GraphEdge, GraphNode, GraphNodeKind};
pub use integrated::{Integrated, IntegratedHook, Steps};
pub use lens::{Lens, LensReading, logit_lens, logit_lens_plain};
pub use metric::Metric;
pub use question::Question;
pub use report::{
    Asked, Report, ReportComponent, ReportError, ReportFaithfulness, ReportFeature, ReportHook,
    ReportKept, ReportLens, ReportMetric, ReportOptions, ReportSubject, ReportTargetFeature,
    ReportToken,
};
pub use token::{TokenError, parse_token};
