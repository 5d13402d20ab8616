//! Descriptions of models: their sizes and parts.

mod gpt_config;
mod parts;
mod rope;
mod shape;

pub use gpt_config::{GptConfig, LayerConfig};
pub use parts::{
    Activation, AttentionConfig, EmbeddingConfig, MlpConfig, NormConfig, NormKind, QkNorm,
    ResidualMix, ValueEmbeds,
};
pub use rope::{RopeConfig, RopeScaling, RopeTables};
pub use shape::GptShape;

pub(crate) use parts::SMEAR_CHANNELS;
