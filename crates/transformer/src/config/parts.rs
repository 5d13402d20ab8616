//! The parts of a model that differ between families.

use serde::{Deserialize, Serialize};

/// The norms in front of each sublayer and of the unembedding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormConfig {
    /// The formula.
    pub kind: NormKind,
    /// Added to the mean square (or variance) under the root.
    pub epsilon: f32,
}

/// The formula of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Divides by the root mean square (Zhang & Sennrich 2019, arXiv:1910.07467), without weights.
    Rms,
    /// [`Rms`](Self::Rms), then multiplies by a gain per channel.
    RmsGain,
    /// Subtracts the mean and divides by the standard deviation, then applies a gain and a bias per
    /// channel (Ba et al. 2016, arXiv:1607.06450).
    LayerNorm,
}

/// The input of the first block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingConfig {
    /// Factor of the token embedding; Gemma has `sqrt(d_model)`.
    pub scale: Option<f32>,
    /// Number of learned position embeddings that are added, if there are any.
    pub positions: Option<usize>,
    /// True if the embedding is divided by its root mean square, as in nanochat.
    pub normed: bool,
}

/// Causal self-attention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionConfig {
    /// Number of channels per head (`d_head`).
    pub head_dim: usize,
    /// The norm of queries and keys.
    pub qk_norm: QkNorm,
    /// Factor of the products of queries and keys; usually `1 / sqrt(head_dim)`.
    pub score_scale: f32,
    /// The softcap of the scores: `softcap · tanh(score / softcap)`.
    pub score_softcap: Option<f32>,
    /// True if queries, keys and values have biases.
    pub qkv_bias: bool,
    /// True if the output projection has a bias.
    pub out_bias: bool,
}

/// The norm of queries and keys, over the channels of each head.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// No norm.
    None,
    /// Root mean square with a gain per channel, before rotary embedding.
    GainBeforeRope,
    /// Root mean square without weights after rotary embedding, then this factor: nanochat's.
    AfterRope {
        /// Factor of normed queries and normed keys.
        scale: f32,
    },
}

/// The feed-forward sublayer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Number of hidden units.
    pub d_mlp: usize,
    /// The activation function.
    pub activation: Activation,
    /// True if the hidden units are `activation(gate) · up` instead of `activation(up)`.
    pub gated: bool,
    /// True if the projections have biases.
    pub bias: bool,
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `relu(x)²` (So et al. 2021, arXiv:2109.08668).
    Relu2,
    /// `x · Φ(x)`, by the error function (Hendrycks & Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// The approximation of [`Gelu`](Self::Gelu) by the hyperbolic tangent.
    GeluTanh,
    /// `x · sigmoid(x)`.
    Silu,
}

/// The input of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidualMix {
    /// The output of the previous block.
    Plain,
    /// `resid_lambdas[i] · x + x0_lambdas[i] · x0`, where `x0` is the embedding.
    Lambdas,
}

/// Gated value embeddings: `v += scale · sigmoid(gate(h[..channels])) · embed(token)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueEmbeds {
    /// Number of channels of the block's normed input that the gate reads.
    pub gate_channels: usize,
    /// Factor after the sigmoid.
    pub gate_scale: f32,
}

/// Number of channels of the embedding that the smear gate reads.
pub(crate) const SMEAR_CHANNELS: usize = 24;
