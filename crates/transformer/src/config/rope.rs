//! Descriptions of rotary position embeddings.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// A rotary position embedding (Su et al. 2021, arXiv:2104.09864).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the frequencies (`theta`).
    pub base: f64,
    /// Number of channels per head that are rotated, the first ones.
    pub channels: usize,
    /// Change of the frequencies for longer contexts.
    pub scaling: RopeScaling,
    /// Precision of the tables.
    pub tables: RopeTables,
    /// True if pairs of channels are rotated by the negative angle, as in nanochat.
    pub negative: bool,
}

/// Changes of rotary frequencies for longer contexts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeScaling {
    /// No change.
    None,
    /// Every frequency is divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Low frequencies are divided by the factor, high ones stay, and those between are blended, as in
    /// Llama 3.1.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Frequencies with fewer turns than this over the original context are low.
        low_freq_factor: f64,
        /// Frequencies with more turns than this over the original context are high.
        high_freq_factor: f64,
        /// The original context length in tokens.
        original_context: f64,
    },
}

/// Precision of the rotary tables. Rounding them to bf16 moves logits by 5e-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeTables {
    /// Always rounded to bf16.
    Bf16,
    /// In the compute dtype, which is float32 here.
    F32,
}

impl RopeConfig {
    /// Rejects numbers that lead to infinite or NaN frequencies, and channels that do not pair up.
    pub(super) fn validate(&self, head_dim: usize) -> Result<(), ConfigError> {
        let Self { base, channels, scaling, .. } = *self;
        if !channels.is_multiple_of(2) || channels == 0 || channels > head_dim {
            return Err(ConfigError::RopeChannels { found: channels, head_dim });
        }
        finite_from("rope_base", base, 1.0, "a finite number from 1 on")?;
        match scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => finite_from("factor", factor, 1e-6, POSITIVE),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                finite_from("factor", factor, 1e-6, POSITIVE)?;
                finite_from("low_freq_factor", low_freq_factor, 1e-6, POSITIVE)?;
                finite_from("original_max_position_embeddings", original_context, 1.0, POSITIVE)?;
                let above = "a finite number above low_freq_factor";
                finite_from("high_freq_factor", high_freq_factor, low_freq_factor, above)?;
                if high_freq_factor > low_freq_factor {
                    return Ok(());
                }
                let found = high_freq_factor.to_string();
                Err(ConfigError::Number { field: "high_freq_factor", found, needed: above })
            }
        }
    }
}

const POSITIVE: &str = "a positive finite number";

fn finite_from(
    field: &'static str,
    found: f64,
    min: f64,
    needed: &'static str,
) -> Result<(), ConfigError> {
    if found.is_finite() && found >= min {
        return Ok(());
    }
    Err(ConfigError::Number { field, found: found.to_string(), needed })
}
