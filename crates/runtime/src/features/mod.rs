//! Features: their activations on text, their weights and their effects on the logits.

pub(crate) mod active;
mod logit_effect;
mod stats;
mod text;
mod weights;

pub use active::ActiveFeatures;
pub use logit_effect::{LogitEffect, LogitEffectError, logit_effects, logit_effects_on};
pub use stats::{FeatureStat, FeatureStats, Peak, mean_differences};
pub use text::split_into_contexts;
pub use weights::FeatureWeights;
