use crate::error::ConfigError;

/// The sizes of a model, named as in nanochat's `model_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GptShape {
    /// Context length in tokens during training.
    pub sequence_len: usize,
    /// Number of token ids, without padding.
    pub vocab_size: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Number of query heads.
    pub n_head: usize,
    /// Number of key and value heads; each serves `n_head / n_kv_head` query heads.
    pub n_kv_head: usize,
    /// Width of the residual stream (`d_model`).
    pub n_embd: usize,
}

/// The largest sizes accepted from a config. They are far above any model of this family, and no
/// product of two of them comes near an overflow.
const MAX_SIZES: [(&str, usize); 6] = [
    ("sequence_len", 1 << 24),
    ("vocab_size", 1 << 24),
    ("n_layer", 1 << 12),
    ("n_head", 1 << 12),
    ("n_kv_head", 1 << 12),
    ("n_embd", 1 << 20),
];

impl GptShape {
    /// Checks that the sizes are consistent.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key, its value and the values accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let given = [
            self.sequence_len,
            self.vocab_size,
            self.n_layer,
            self.n_head,
            self.n_kv_head,
            self.n_embd,
        ];
        for ((field, max), found) in MAX_SIZES.into_iter().zip(given) {
            if found == 0 || found > max {
                return Err(ConfigError::Size { field, found, max });
            }
        }
        check_multiple("n_embd", self.n_embd, "n_head", self.n_head)?;
        check_multiple("n_head", self.n_head, "n_kv_head", self.n_kv_head)?;
        if !self.head_dim().is_multiple_of(2) {
            return Err(ConfigError::OddHeadDim { found: self.head_dim() });
        }
        Ok(())
    }

    /// Number of channels per head (`d_head`).
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Number of channels of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.n_kv_head * self.head_dim()
    }
}

fn check_multiple(
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

/// The sizes and parts of a model.
///
/// Created by [`Era::config`](crate::Era::config); for a model of another program,
/// [`with_constants`](Self::with_constants) then replaces the era's constants.
#[derive(Debug, Clone, PartialEq)]
pub struct GptConfig {
    /// The sizes.
    pub shape: GptShape,
    /// Rows of the embeddings and columns of the unembedding; at least `vocab_size`.
    pub padded_vocab_size: usize,
    /// The attention window `w` of each layer: key `j` is visible to query `i` iff
    /// `0 <= i - j <= w`. `None`: every earlier key is visible.
    pub windows: Vec<Option<usize>>,
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
    /// The constants that an era fixes.
    pub constants: Constants,
    /// Queries and keys are multiplied by this after their norm.
    pub qk_scale: f32,
}

/// Constants of the computation. nanochat's code fixes them in each era; other programs have them in
/// their configurations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    /// Number of hidden units of the MLP. Every era: four times `n_embd`.
    pub d_mlp: usize,
    /// Added to the mean square in each norm. Every era: [`f32::EPSILON`].
    pub norm_epsilon: f32,
    /// The softcap of the logits: `logits = softcap · tanh(logits / softcap)`. Without one the logits
    /// are not capped; every era has one.
    pub softcap: Option<f32>,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// Precision of the rotary tables.
    pub rope_tables: RopeTables,
}

impl Constants {
    /// Rejects constants that lead to infinities or NaN.
    fn validate(&self) -> Result<(), ConfigError> {
        let Self { d_mlp, norm_epsilon, softcap, rope_base, rope_tables: _ } = *self;
        if d_mlp == 0 || d_mlp > MAX_D_MLP {
            return Err(ConfigError::Size { field: "d_mlp", found: d_mlp, max: MAX_D_MLP });
        }
        for (field, found, min, needed) in [
            ("norm_epsilon", f64::from(norm_epsilon), f64::from(f32::MIN_POSITIVE), POSITIVE),
            ("softcap", f64::from(softcap.unwrap_or(1.0)), f64::from(f32::MIN_POSITIVE), POSITIVE),
            ("rope_base", rope_base, 1.0, "a finite number from 1 on"),
        ] {
            if !found.is_finite() || found < min {
                return Err(ConfigError::Number { field, found: found.to_string(), needed });
            }
        }
        Ok(())
    }
}

/// The largest width accepted for the MLP, as in [`MAX_SIZES`].
const MAX_D_MLP: usize = 1 << 22;
const POSITIVE: &str = "a positive number of 32 bits";

/// The input of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResidualMix {
    /// The output of the previous block.
    Plain,
    /// `resid_lambdas[i] · x + x0_lambdas[i] · x0`, where `x0` is the embedding.
    Lambdas,
}

/// Gated value embeddings: `v += scale · sigmoid(gate(h[..channels])) · embed(token)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueEmbeds {
    /// Number of channels of the block's normed input that the gate reads.
    pub gate_channels: usize,
    /// Factor after the sigmoid.
    pub gate_scale: f32,
}

/// Precision of the rotary tables. Rounding them to bf16 moves logits by 5e-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeTables {
    /// Always rounded to bf16.
    Bf16,
    /// In the compute dtype, which is float32 here.
    F32,
}

/// Number of channels of the embedding that the smear gate reads.
pub(crate) const SMEAR_CHANNELS: usize = 24;

impl GptConfig {
    /// Replaces the era's constants.
    ///
    /// # Errors
    /// [`ConfigError`], which names a constant with which logits would not be finite.
    pub fn with_constants(self, constants: Constants) -> Result<Self, ConfigError> {
        constants.validate()?;
        Ok(Self { constants, ..self })
    }

    /// Returns whether `layer` adds a value embedding: every other layer does, including the last.
    pub fn has_value_embed(&self, layer: usize) -> bool {
        self.value_embeds.is_some() && layer % 2 == (self.shape.n_layer - 1) % 2
    }

    /// The layer whose output is kept for the backout.
    pub fn backout_layer(&self) -> Option<usize> {
        self.backout.then_some(self.shape.n_layer / 2)
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

    #[test]
    fn numbers_that_make_no_finite_logits_are_errors_that_name_the_key() {
        let config = crate::Era::E0.config(GOOD, None).unwrap();
        let good = config.constants;
        let cases = [
            (Constants { d_mlp: 0, ..good }, "d_mlp is 0, it must be in 1..=4194304"),
            (
                Constants { norm_epsilon: 0.0, ..good },
                "norm_epsilon is 0, it must be a positive number of 32 bits",
            ),
            (
                Constants { softcap: Some(f32::INFINITY), ..good },
                "softcap is inf, it must be a positive number of 32 bits",
            ),
            (
                Constants { rope_base: f64::NAN, ..good },
                "rope_base is NaN, it must be a finite number from 1 on",
            ),
        ];
        for (constants, message) in cases {
            let error = config.clone().with_constants(constants).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert!(config.with_constants(Constants { softcap: None, ..good }).is_ok());
    }
}
