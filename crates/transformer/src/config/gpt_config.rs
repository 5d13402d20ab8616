use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};

use crate::config::parts::{
    AttentionConfig, EmbeddingConfig, MlpConfig, NormConfig, NormKind, ResidualMix, SMEAR_CHANNELS,
    ValueEmbeds,
};
use crate::config::rope::RopeConfig;
use crate::config::shape::{GptShape, check_size};
use crate::error::ConfigError;

/// The sizes and parts of a model.
///
/// There is one forward pass, and this describes what it computes: a family of models is a function
/// from its configuration file to this description. [`Era::config`](crate::Era::config) is nanochat's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part that a model has or lacks")]
pub struct GptConfig {
    /// The sizes.
    pub shape: GptShape,
    /// Rows of the embedding and columns of the unembedding; at least `vocab_size`.
    pub padded_vocab_size: usize,
    /// The input of the first block.
    pub embedding: EmbeddingConfig,
    /// Every norm but that of queries and keys.
    pub norm: NormConfig,
    /// Attention, the same in all blocks but for [`layers`](Self::layers).
    pub attention: AttentionConfig,
    /// Rotary position embeddings, of which each layer uses one; empty without rotary embedding.
    pub ropes: Vec<RopeConfig>,
    /// The differences between blocks.
    pub layers: Vec<LayerConfig>,
    /// The MLP of each block.
    pub mlp: MlpConfig,
    /// True if attention and MLP both read the block's input, and both outputs are added to it.
    pub parallel: bool,
    /// True if the outputs of attention and MLP are normed before they are added.
    pub post_norms: bool,
    /// True if the unembedding is the transposed embedding.
    pub tied: bool,
    /// The softcap of the logits: `logits = softcap · tanh(logits / softcap)`.
    pub softcap: Option<f32>,
    /// The input of a block.
    pub residual: ResidualMix,
    /// Token embeddings added to the values of every other layer.
    pub value_embeds: Option<ValueEmbeds>,
    /// Adds a hashed bigram embedding to the input of every block.
    pub bigram: bool,
    /// Adds a gated part of the previous embedding to each embedding.
    pub smear: bool,
    /// Subtracts a part of the middle layer's output before the final norm.
    pub backout: bool,
    /// Longest sequence that can be run, in tokens.
    pub max_positions: usize,
}

/// The parts that differ between the blocks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerConfig {
    /// The attention window `w`: key `j` is visible to query `i` iff `0 <= i - j <= w`. `None`: every
    /// earlier key is visible.
    pub window: Option<usize>,
    /// Index of the layer's rotary embedding in [`GptConfig::ropes`].
    pub rope: usize,
}

/// The largest sizes accepted besides those of [`GptShape`].
const MAX_D_MLP: usize = 1 << 22;
const MAX_HEAD_DIM: usize = 1 << 14;
const MAX_POSITIONS: usize = 1 << 28;

impl GptConfig {
    /// Checks that the sizes are consistent and that no number makes logits infinite or NaN.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key, its value and the values accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.shape.validate()?;
        let AttentionConfig { head_dim, score_scale, score_softcap, .. } = self.attention;
        check_size("d_mlp", self.mlp.d_mlp, MAX_D_MLP)?;
        check_size("head_dim", head_dim, MAX_HEAD_DIM)?;
        check_size("max_positions", self.max_positions, MAX_POSITIONS)?;
        for (field, found) in [
            ("norm_epsilon", Some(self.norm.epsilon)),
            ("softcap", self.softcap),
            ("score_softcap", score_softcap),
            ("score_scale", Some(score_scale)),
            ("embedding_scale", self.embedding.scale),
        ] {
            if let Some(found) = found
                && !(found.is_finite() && found >= f32::MIN_POSITIVE)
            {
                let (found, needed) = (found.to_string(), "a positive number of 32 bits");
                return Err(ConfigError::Number { field, found, needed });
            }
        }
        let (layers, n_layer) = (self.layers.len(), self.shape.n_layer);
        if layers != n_layer {
            let needed = "a list with one entry for each of shape.n_layer";
            let found = format!("a list of {layers} for {n_layer}");
            return Err(ConfigError::Number { field: "layers", found, needed });
        }
        let last_rope = self.ropes.len().saturating_sub(1);
        if let Some(layer) = self.layers.iter().find(|layer| layer.rope > last_rope) {
            let (found, needed) = (layer.rope.to_string(), "the place of one of ropes, from 0");
            return Err(ConfigError::Number { field: "layers.rope", found, needed });
        }
        if self.padded_vocab_size < self.shape.vocab_size {
            let (found, needed) = (self.padded_vocab_size.to_string(), "at least shape.vocab_size");
            return Err(ConfigError::Number { field: "padded_vocab_size", found, needed });
        }
        if let Some(positions) = self.embedding.positions
            && positions < self.max_positions
        {
            let (found, needed) = (self.max_positions.to_string(), "at most embedding.positions");
            return Err(ConfigError::Number { field: "max_positions", found, needed });
        }
        self.ropes.iter().try_for_each(|rope| rope.validate(head_dim))
    }

    /// Number of channels of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.shape.n_head * self.attention.head_dim
    }

    /// Number of channels of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.shape.n_kv_head * self.attention.head_dim
    }

    /// Returns whether `layer` adds a value embedding: every other layer does, including the last.
    pub fn has_value_embed(&self, layer: usize) -> bool {
        self.value_embeds.is_some() && layer % 2 == (self.shape.n_layer - 1) % 2
    }

    /// The layer whose output is kept for the backout.
    pub fn backout_layer(&self) -> Option<usize> {
        self.backout.then_some(self.shape.n_layer / 2)
    }

    /// Iterates over the hook points of this model, in execution order.
    pub fn hook_points(&self) -> impl Iterator<Item = HookPoint> {
        HookPoint::all(self.shape.n_layer).filter(|&point| self.missing(point).is_none())
    }

    /// The reason for which blocks of this model do not have `point`; `None` if they have it.
    pub fn missing(&self, point: HookPoint) -> Option<&'static str> {
        match point {
            HookPoint::PosEmbed if self.embedding.positions.is_none() => {
                Some("the model has no learned position embedding")
            }
            HookPoint::ResidMid(_) if self.parallel => Some(
                "attention and MLP of a block read the same residual stream, with nothing between",
            ),
            HookPoint::MlpPreLinear(_) if !self.mlp.gated => Some("the model's MLP has no gate"),
            HookPoint::RotQ(_) | HookPoint::RotK(_) if self.ropes.is_empty() => {
                Some("the model has no rotary embedding")
            }
            _ => None,
        }
    }

    /// Returns whether the norms have weights.
    pub(crate) fn has_norm_gain(&self) -> bool {
        self.norm.kind != NormKind::Rms
    }

    /// The number of channels of the residual stream that gates read.
    pub(crate) fn gate_channels(&self) -> usize {
        let smear = if self.smear { SMEAR_CHANNELS } else { 0 };
        self.value_embeds.map_or(0, |embeds| embeds.gate_channels).max(smear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Era;

    #[test]
    fn fields_that_contradict_each_other_are_named() {
        let shape = GptShape {
            sequence_len: 8,
            vocab_size: 50,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 2,
            n_embd: 32,
        };
        let config = Era::E6.config(shape, None).unwrap();
        config.validate().unwrap();
        let check = |name: &str, change: fn(&mut GptConfig)| {
            let mut config = config.clone();
            change(&mut config);
            let error = config.validate().unwrap_err();
            let is_named = matches!(error, ConfigError::Number { field, .. } if field == name);
            assert!(is_named, "{name}: {error}");
        };
        check("layers", |config| config.layers.truncate(1));
        check("layers", |config| config.layers.push(config.layers[0]));
        check("layers.rope", |config| config.layers[1].rope = config.ropes.len());
        check("padded_vocab_size", |config| config.padded_vocab_size = 49);
        check("max_positions", |config| {
            config.embedding.positions = Some(config.max_positions - 1);
        });
    }
}
