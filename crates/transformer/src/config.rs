use crate::error::ConfigError;

/// The sizes of a model, under the names that nanochat's `model_config` gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GptShape {
    /// Context length in tokens that the model was trained with.
    pub sequence_len: usize,
    /// Token ids that exist, without padding.
    pub vocab_size: usize,
    /// Blocks.
    pub n_layer: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; each serves `n_head / n_kv_head` query heads.
    pub n_kv_head: usize,
    /// Width of the residual stream (`d_model`).
    pub n_embd: usize,
}

/// The largest sizes taken from a config. Far above any model of this family; they keep every
/// product of two of them far from overflow.
const MOST: [(&str, usize); 6] = [
    ("sequence_len", 1 << 24),
    ("vocab_size", 1 << 24),
    ("n_layer", 1 << 12),
    ("n_head", 1 << 12),
    ("n_kv_head", 1 << 12),
    ("n_embd", 1 << 20),
];

impl GptShape {
    /// Checks that the sizes make a model.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key, what it is and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let given = [
            self.sequence_len,
            self.vocab_size,
            self.n_layer,
            self.n_head,
            self.n_kv_head,
            self.n_embd,
        ];
        for ((field, most), found) in MOST.into_iter().zip(given) {
            if found == 0 || found > most {
                return Err(ConfigError::Size { field, found, most });
            }
        }
        multiple("n_embd", self.n_embd, "n_head", self.n_head)?;
        multiple("n_head", self.n_head, "n_kv_head", self.n_kv_head)?;
        if !self.head_dim().is_multiple_of(2) {
            return Err(ConfigError::OddHeadDim { found: self.head_dim() });
        }
        Ok(())
    }

    /// Channels of one head (`d_head`).
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Hidden units of the MLP (`d_mlp`).
    pub fn d_mlp(&self) -> usize {
        4 * self.n_embd
    }

    /// Channels of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.n_kv_head * self.head_dim()
    }
}

fn multiple(
    field: &'static str,
    found: usize,
    of_field: &'static str,
    of: usize,
) -> Result<(), ConfigError> {
    if found.is_multiple_of(of) {
        Ok(())
    } else {
        Err(ConfigError::NotAMultiple { field, found, of_field, of })
    }
}

/// A model's sizes and the parts it has.
///
/// Made by [`Era::config`](crate::Era::config).
#[derive(Debug, Clone, PartialEq)]
pub struct GptConfig {
    /// The sizes.
    pub shape: GptShape,
    /// Rows of the embeddings and columns of the unembedding; at least `vocab_size`.
    pub padded_vocab_size: usize,
    /// Per layer the attention window `w`: key `j` is visible to query `i` iff `0 <= i - j <= w`.
    /// `None`: every earlier key.
    pub windows: Vec<Option<usize>>,
    /// What a block reads.
    pub residual: ResidualMix,
    /// Token embeddings added to the values of every other layer.
    pub value_embeds: Option<ValueEmbeds>,
    /// Whether every block also reads a hashed bigram embedding.
    pub bigram: bool,
    /// Whether each embedding takes in a gated part of the one before it.
    pub smear: bool,
    /// Whether a part of the middle layer's output is subtracted before the final norm.
    pub backout: bool,
    /// `logits = softcap · tanh(logits / softcap)`.
    pub softcap: f32,
    /// Rotary base.
    pub rope_base: f64,
    /// Precision of the rotary tables.
    pub rope_tables: RopeTables,
    /// Queries and keys are multiplied by this after their norm.
    pub qk_scale: f32,
}

/// What a block reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResidualMix {
    /// The block before's output.
    Plain,
    /// `resid_lambdas[i] · x + x0_lambdas[i] · x0`, `x0` being the embedding.
    Lambdas,
}

/// Gated value embeddings: `v += scale · sigmoid(gate(h[..channels])) · embed(token)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueEmbeds {
    /// Channels of the block's normed input that the gate reads.
    pub gate_channels: usize,
    /// Factor after the sigmoid.
    pub gate_scale: f32,
}

/// Precision of the rotary tables; tables rounded to bf16 move logits by 5e-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeTables {
    /// Rounded to bf16, always.
    Bf16,
    /// In the compute dtype, which is float32 here.
    F32,
}

/// Channels of the embedding that the smear gate reads.
pub(crate) const SMEAR_CHANNELS: usize = 24;

impl GptConfig {
    /// Whether `layer` adds a value embedding: every other layer, the last one always.
    pub fn has_value_embed(&self, layer: usize) -> bool {
        self.value_embeds.is_some() && layer % 2 == (self.shape.n_layer - 1) % 2
    }

    /// The layer whose output is kept for the backout.
    pub fn backout_layer(&self) -> Option<usize> {
        self.backout.then_some(self.shape.n_layer / 2)
    }

    /// Channels of the residual stream that some gate reads.
    pub(crate) fn gate_channels(&self) -> usize {
        let smear = if self.smear { SMEAR_CHANNELS } else { 0 };
        self.value_embeds.map_or(0, |embeds| embeds.gate_channels).max(smear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: GptShape = GptShape {
        sequence_len: 64,
        vocab_size: 300,
        n_layer: 4,
        n_head: 4,
        n_kv_head: 2,
        n_embd: 64,
    };

    #[test]
    fn sizes_that_make_no_model_are_errors_that_name_the_key() {
        let cases = [
            (GptShape { n_layer: 0, ..GOOD }, "n_layer is 0, it must be in 1..=4096"),
            (
                GptShape { vocab_size: usize::MAX, ..GOOD },
                "vocab_size is 18446744073709551615, it must be in 1..=16777216",
            ),
            (GptShape { n_embd: 66, ..GOOD }, "n_embd is 66, it must be a multiple of n_head = 4"),
            (
                GptShape { n_kv_head: 3, ..GOOD },
                "n_head is 4, it must be a multiple of n_kv_head = 3",
            ),
            (
                GptShape { n_embd: 60, ..GOOD },
                "n_embd / n_head is 15, rotary embedding needs an even number",
            ),
        ];
        for (shape, message) in cases {
            assert_eq!(shape.validate().unwrap_err().to_string(), message);
        }
        assert_eq!(GOOD.validate(), Ok(()));
    }
}
