use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;

use crate::config::{GptConfig, ResidualMix, SMEAR_CHANNELS};

/// A weight's name in nanochat's files, and its shape in this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// The key in nanochat's state dict.
    pub name: String,
    /// The shape in this crate; for a linear layer `[d_in, d_out]`.
    pub shape: Vec<usize>,
    /// The layout in nanochat's files.
    pub layout: Layout,
}

/// The layout of a weight in nanochat's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The same as in this crate.
    Same,
    /// Transposed: the files hold a linear layer as `[d_out, d_in]`.
    Transposed,
}

impl ParamSpec {
    fn new(name: impl Into<String>, shape: &[usize], layout: Layout) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), layout }
    }

    /// The shape in nanochat's files.
    pub fn file_shape(&self) -> Vec<usize> {
        match self.layout {
            Layout::Same => self.shape.clone(),
            Layout::Transposed => self.shape.iter().rev().copied().collect(),
        }
    }
}

/// Names of the weights that are not in a block.
pub(crate) const WTE: &str = "transformer.wte.weight";
pub(crate) const LM_HEAD: &str = "lm_head.weight";
pub(crate) const RESID_LAMBDAS: &str = "resid_lambdas";
pub(crate) const X0_LAMBDAS: &str = "x0_lambdas";
pub(crate) const BIGRAM_LAMBDAS: &str = "bigram_lambdas";
pub(crate) const BIGRAM_EMBED: &str = "bigram_embed.embed.weight";
pub(crate) const SMEAR_LAMBDA: &str = "smear_lambda";
pub(crate) const SMEAR_GATE: &str = "smear_gate.weight";
pub(crate) const BACKOUT_LAMBDA: &str = "backout_lambda";

/// Rows of the bigram table per token of the vocabulary, without padding.
const BIGRAM_ROWS: usize = 5;

pub(crate) fn block_param(layer: usize, part: &str) -> String {
    format!("transformer.h.{layer}.{part}.weight")
}

pub(crate) fn value_embed(layer: usize) -> String {
    format!("value_embeds.{layer}.weight")
}

impl GptConfig {
    /// Every weight of the model, the largest ones first. Read in this order, transposing a weight
    /// never needs more memory in total than the finished model and that weight.
    pub fn params(&self) -> Vec<ParamSpec> {
        use Layout::{Same, Transposed};

        let shape = &self.shape;
        let (width, vocab, layers) = (shape.n_embd, self.padded_vocab_size, shape.n_layer);
        let d_mlp = self.constants.d_mlp;
        let mut params = vec![
            ParamSpec::new(LM_HEAD, &[width, vocab], Transposed),
            ParamSpec::new(WTE, &[vocab, width], Same),
        ];
        if self.bigram {
            params.push(ParamSpec::new(
                BIGRAM_EMBED,
                &[BIGRAM_ROWS * shape.vocab_size, width],
                Same,
            ));
            params.push(ParamSpec::new(BIGRAM_LAMBDAS, &[layers], Same));
        }
        for layer in (0..layers).filter(|&layer| self.has_value_embed(layer)) {
            params.push(ParamSpec::new(value_embed(layer), &[vocab, shape.kv_dim()], Same));
        }
        for layer in 0..layers {
            for (part, d_in, d_out) in [
                ("mlp.c_fc", width, d_mlp),
                ("mlp.c_proj", d_mlp, width),
                ("attn.c_q", width, width),
                ("attn.c_k", width, shape.kv_dim()),
                ("attn.c_v", width, shape.kv_dim()),
                ("attn.c_proj", width, width),
            ] {
                params.push(ParamSpec::new(block_param(layer, part), &[d_in, d_out], Transposed));
            }
            if let (Some(embeds), true) = (self.value_embeds, self.has_value_embed(layer)) {
                let gate = [embeds.gate_channels, shape.n_kv_head];
                params.push(ParamSpec::new(block_param(layer, "attn.ve_gate"), &gate, Transposed));
            }
        }
        if self.residual == ResidualMix::Lambdas {
            params.push(ParamSpec::new(RESID_LAMBDAS, &[layers], Same));
            params.push(ParamSpec::new(X0_LAMBDAS, &[layers], Same));
        }
        if self.smear {
            params.push(ParamSpec::new(SMEAR_GATE, &[SMEAR_CHANNELS, 1], Transposed));
            params.push(ParamSpec::new(SMEAR_LAMBDA, &[1], Same));
        }
        if self.backout {
            params.push(ParamSpec::new(BACKOUT_LAMBDA, &[1], Same));
        }
        params
    }

    /// The shape of the activation at `point`.
    pub fn hook_shape(&self, point: HookPoint) -> HookShape {
        let shape = &self.shape;
        match point {
            HookPoint::Q(_) | HookPoint::Z(_) => {
                HookShape::Heads { heads: shape.n_head, head_dim: shape.head_dim() }
            }
            HookPoint::K(_) | HookPoint::V(_) => {
                HookShape::Heads { heads: shape.n_kv_head, head_dim: shape.head_dim() }
            }
            HookPoint::Pattern(_) => HookShape::Pattern { heads: shape.n_head },
            HookPoint::MlpPre(_) | HookPoint::MlpPost(_) => {
                HookShape::Channels(self.constants.d_mlp)
            }
            _ => HookShape::Channels(shape.n_embd),
        }
    }
}

/// The shape of the activation at a hook point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookShape {
    /// `[batch, seq, channels]`
    Channels(usize),
    /// `[batch, seq, heads, head_dim]`
    Heads {
        /// Number of heads.
        heads: usize,
        /// Number of channels per head.
        head_dim: usize,
    },
    /// `[batch, heads, query, key]`
    Pattern {
        /// Number of heads.
        heads: usize,
    },
}

impl HookShape {
    /// The activation's width with its heads concatenated, which an SAE's `d_in` has to match. `None`
    /// for a pattern, whose last dimension grows with the sequence.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Channels(channels) => Some(channels),
            Self::Heads { heads, head_dim } => Some(heads * head_dim),
            Self::Pattern { .. } => None,
        }
    }
}

impl std::fmt::Display for HookShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channels(channels) => write!(f, "[batch, seq, {channels}]"),
            Self::Heads { heads, head_dim } => write!(f, "[batch, seq, {heads}, {head_dim}]"),
            Self::Pattern { heads } => write!(f, "[batch, {heads}, query, key]"),
        }
    }
}

/// Computes `x · w` for every position.
///
/// # Shapes
/// - `x`: `[batch, seq, d_in]`
/// - `w`: `[d_in, d_out]`
/// - output: `[batch, seq, d_out]`
pub(crate) fn linear(x: Tensor<3>, w: &Tensor<2>) -> Tensor<3> {
    let [batch, seq, d_in] = x.dims();
    let [_, d_out] = w.dims();
    x.reshape([batch * seq, d_in]).matmul(w.clone()).reshape([batch, seq, d_out])
}
