use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// The sizes of a model, named as in nanochat's `model_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// The largest sizes accepted from a config. They are far above any model of these families, and no
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
    /// Checks that the sizes are consistent, for heads of any width.
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
            check_size(field, found, max)?;
        }
        check_multiple("n_head", self.n_head, "n_kv_head", self.n_kv_head)
    }

    /// Number of channels per head (`d_head`) if the heads together are as wide as the residual stream.
    ///
    /// # Errors
    /// [`ConfigError::NotAMultiple`] if they do not divide it.
    pub fn head_dim(&self) -> Result<usize, ConfigError> {
        check_multiple("n_embd", self.n_embd, "n_head", self.n_head)?;
        Ok(self.n_embd / self.n_head)
    }
}

pub(super) fn check_size(field: &'static str, found: usize, max: usize) -> Result<(), ConfigError> {
    if found == 0 || found > max {
        return Err(ConfigError::Size { field, found, max });
    }
    Ok(())
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
