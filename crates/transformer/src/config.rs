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
/// Made by [`Era::config`](crate::Era::config), for a model of another program followed by
/// [`with_constants`](Self::with_constants).
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
    /// The numbers that an era fixes.
    pub constants: Constants,
    /// Queries and keys are multiplied by this after their norm.
    pub qk_scale: f32,
}

/// Numbers that nanochat's code fixes in each era, and other programs' configurations may choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    /// Hidden units of the MLP. Every era: four times `n_embd`.
    pub d_mlp: usize,
    /// What each norm adds to the mean square. Every era: [`f32::EPSILON`].
    pub norm_epsilon: f32,
    /// `logits = softcap · tanh(logits / softcap)`; without one, which no era is, the logits stay
    /// as they are.
    pub softcap: Option<f32>,
    /// Rotary base.
    pub rope_base: f64,
    /// Precision of the rotary tables.
    pub rope_tables: RopeTables,
}

impl Constants {
    /// Refuses numbers with which a model would compute infinities or NaN.
    fn validate(&self) -> Result<(), ConfigError> {
        let Self { d_mlp, norm_epsilon, softcap, rope_base, rope_tables: _ } = *self;
        if d_mlp == 0 || d_mlp > MOST_D_MLP {
            return Err(ConfigError::Size { field: "d_mlp", found: d_mlp, most: MOST_D_MLP });
        }
        for (field, found, least, needed) in [
            ("norm_epsilon", f64::from(norm_epsilon), f64::from(f32::MIN_POSITIVE), POSITIVE),
            ("softcap", f64::from(softcap.unwrap_or(1.0)), f64::from(f32::MIN_POSITIVE), POSITIVE),
            ("rope_base", rope_base, 1.0, "a finite number from 1 on"),
        ] {
            if !found.is_finite() || found < least {
                return Err(ConfigError::Number { field, found: found.to_string(), needed });
            }
        }
        Ok(())
    }
}

/// As `MOST`, for the MLP.
const MOST_D_MLP: usize = 1 << 22;
const POSITIVE: &str = "a positive number of 32 bits";

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
    /// The same model with other numbers in place of its era's.
    ///
    /// # Errors
    /// [`ConfigError`] naming a number with which there would be no finite logits.
    pub fn with_constants(self, constants: Constants) -> Result<Self, ConfigError> {
        constants.validate()?;
        Ok(Self { constants, ..self })
    }

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
