use std::fmt;
use std::str::FromStr;

use crate::config::{
    Activation, AttentionConfig, EmbeddingConfig, GptConfig, GptShape, LayerConfig, MlpConfig,
    NormConfig, NormKind, QkNorm, ResidualMix, RopeConfig, RopeScaling, RopeTables, ValueEmbeds,
};
use crate::error::ConfigError;

/// A period of nanochat's history during which its architecture did not change.
///
/// nanochat changes its architecture without a version number. The eras are numbered in the order of
/// their first commits on its master branch; each determines which parts a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Era {
    /// 2025-10-13 (`3a5e0bc`): plain residual stream, full attention.
    E0,
    /// 2025-12-09 (`f1bf69d`): as [`E0`](Self::E0), with the vocabulary padded to a multiple of 64.
    E0p,
    /// 2026-01-11 (`aa530cd`): every block reads a mix of its input and the embedding.
    E1,
    /// 2026-01-11 (`fbc1484`): sliding windows.
    E1w,
    /// 2026-01-16 (`e85db6b`): gated value embeddings in every other layer.
    E3,
    /// 2026-01-25 (`59e36cc`): hashed bigram embeddings.
    E3b,
    /// 2026-03-02 (`aba30cb`): as [`E3`](Self::E3), with softcap 20 and the same keys in the file.
    E4,
    /// 2026-03-04 (`1076f97`): as [`E4`](Self::E4), with rotary tables in the compute dtype.
    E4b,
    /// 2026-03-09 (`6ed7d1d`): narrower gates, rotary base 1e5, scaled QK norm.
    E5,
    /// 2026-03-14 (`a825e63`): smear and backout.
    E6,
}

/// nanochat's rotary tables cover this many times the context; longer sequences are rejected.
const MAX_CONTEXTS: usize = 10;

/// Vocabulary sizes are rounded up to a multiple of this.
const VOCAB_PADDING: usize = 64;

impl Era {
    /// Every era, oldest first.
    pub const ALL: [Self; 10] = [
        Self::E0,
        Self::E0p,
        Self::E1,
        Self::E1w,
        Self::E3,
        Self::E3b,
        Self::E4,
        Self::E4b,
        Self::E5,
        Self::E6,
    ];

    pub(crate) fn names() -> String {
        Self::ALL.map(|era| era.to_string()).join(", ")
    }

    /// The configuration of a model of this era.
    ///
    /// `window_pattern` is the config key of that name, for eras that have it; without it every
    /// layer sees the whole context.
    ///
    /// # Errors
    /// [`ConfigError`] if the sizes are not consistent, or the era has no sliding windows.
    pub fn config(
        self,
        shape: GptShape,
        window_pattern: Option<&str>,
    ) -> Result<GptConfig, ConfigError> {
        shape.validate()?;
        if let Some(pattern) = window_pattern
            && self < Self::E1w
        {
            return Err(ConfigError::NoWindows { era: self, found: pattern.to_owned() });
        }
        let head_dim = shape.head_dim()?;
        let rope = RopeConfig {
            base: if self >= Self::E5 { 100_000.0 } else { 10_000.0 },
            channels: head_dim,
            scaling: RopeScaling::None,
            tables: if self >= Self::E4b { RopeTables::F32 } else { RopeTables::Bf16 },
            negative: true,
        };
        let qk_scale = match self {
            Self::E6 => 1.2,
            Self::E5 => 1.15,
            _ => 1.0,
        };
        let windows = self.windows(&shape, window_pattern)?;
        let config = GptConfig {
            shape,
            padded_vocab_size: self.padded_vocab_size(shape.vocab_size),
            embedding: EmbeddingConfig { scale: None, positions: None, normed: true },
            norm: NormConfig { kind: NormKind::Rms, epsilon: f32::EPSILON },
            attention: AttentionConfig {
                head_dim,
                qk_norm: QkNorm::AfterRope { scale: qk_scale },
                score_scale: 1.0 / (head_dim as f32).sqrt(),
                score_softcap: None,
                qkv_bias: false,
                out_bias: false,
            },
            ropes: vec![rope],
            layers: windows.into_iter().map(|window| LayerConfig { window, rope: 0 }).collect(),
            mlp: MlpConfig {
                d_mlp: 4 * shape.n_embd,
                activation: Activation::Relu2,
                gated: false,
                bias: false,
            },
            parallel: false,
            post_norms: false,
            tied: false,
            softcap: Some(if matches!(self, Self::E4 | Self::E4b) { 20.0 } else { 15.0 }),
            residual: if self >= Self::E1 { ResidualMix::Lambdas } else { ResidualMix::Plain },
            value_embeds: self.value_embeds(),
            bigram: self == Self::E3b,
            smear: self >= Self::E6,
            backout: self >= Self::E6,
            max_positions: MAX_CONTEXTS * shape.sequence_len,
        };
        config.validate()?;
        let needed = config.gate_channels();
        if shape.n_embd < needed {
            return Err(ConfigError::TooNarrow { found: shape.n_embd, needed, era: self });
        }
        Ok(config)
    }

    fn padded_vocab_size(self, vocab_size: usize) -> usize {
        if self == Self::E0 { vocab_size } else { vocab_size.next_multiple_of(VOCAB_PADDING) }
    }

    fn value_embeds(self) -> Option<ValueEmbeds> {
        match self {
            Self::E0 | Self::E0p | Self::E1 | Self::E1w => None,
            Self::E3 | Self::E3b | Self::E4 | Self::E4b => {
                Some(ValueEmbeds { gate_channels: 32, gate_scale: 2.0 })
            }
            Self::E5 | Self::E6 => Some(ValueEmbeds { gate_channels: 12, gate_scale: 3.0 }),
        }
    }

    /// The attention window of each layer. The last layer always sees the whole context.
    fn windows(
        self,
        shape: &GptShape,
        pattern: Option<&str>,
    ) -> Result<Vec<Option<usize>>, ConfigError> {
        if self < Self::E1w {
            return Ok(vec![None; shape.n_layer]);
        }
        let pattern = pattern.unwrap_or("L").to_uppercase();
        if pattern.is_empty() || !pattern.bytes().all(|letter| matches!(letter, b'S' | b'L')) {
            return Err(ConfigError::WindowPattern { found: pattern });
        }
        let long = shape.sequence_len;
        let short = match self {
            Self::E6 => round_up_to_tile(long.div_ceil(4)),
            Self::E5 => round_up_to_tile(long.div_ceil(3)),
            _ => long / 2,
        };
        let last = shape.n_layer - 1;
        let tiled = pattern.bytes().cycle().take(shape.n_layer).enumerate();
        Ok(tiled
            .map(|(layer, letter)| Some(if letter == b'S' && layer != last { short } else { long }))
            .collect())
    }
}

/// nanochat rounds its short windows to the tile of its attention kernel.
fn round_up_to_tile(window: usize) -> usize {
    window.next_multiple_of(128)
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Era {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::ALL
            .into_iter()
            .find(|era| era.to_string().eq_ignore_ascii_case(name))
            .ok_or_else(|| ConfigError::UnknownEra { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sequence_len: usize, n_layer: usize) -> GptShape {
        GptShape { sequence_len, vocab_size: 300, n_layer, n_head: 4, n_kv_head: 2, n_embd: 64 }
    }

    fn windows_of(config: &GptConfig) -> Vec<Option<usize>> {
        config.layers.iter().map(|layer| layer.window).collect()
    }

    #[test]
    fn names_read_back_in_any_case() {
        for era in Era::ALL {
            assert_eq!(era.to_string().parse(), Ok(era));
            assert_eq!(era.to_string().to_lowercase().parse(), Ok(era));
        }
        assert_eq!(
            "E2".parse::<Era>().unwrap_err().to_string(),
            "unknown era `E2` (expected E0, E0p, E1, E1w, E3, E3b, E4, E4b, E5, E6)"
        );
    }

    #[test]
    fn short_windows_follow_each_eras_rule_and_the_last_layer_is_long() {
        let windows = |era: Era, len, layers, pattern| {
            windows_of(&era.config(shape(len, layers), Some(pattern)).unwrap())
        };
        let (s, l) = (Some, Some);

        assert_eq!(windows(Era::E1w, 1024, 3, "S"), [s(512), s(512), l(1024)]);
        assert_eq!(windows(Era::E5, 2048, 3, "SL"), [s(768), l(2048), l(2048)]);
        assert_eq!(windows(Era::E6, 2048, 5, "SSSL"), [s(512), s(512), s(512), l(2048), l(2048)]);
        assert_eq!(windows(Era::E6, 256, 2, "sl"), [s(128), l(256)]);
        assert_eq!(windows_of(&Era::E3.config(shape(64, 2), None).unwrap()), [l(64), l(64)]);
        assert_eq!(windows_of(&Era::E1.config(shape(64, 2), None).unwrap()), [None, None]);
    }

    #[test]
    fn a_broken_window_pattern_and_one_that_the_era_does_not_have_are_errors() {
        let error = Era::E6.config(shape(64, 2), Some("SX")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "window_pattern is `SX`, it must be made of the letters S and L"
        );
        let error = Era::E0.config(shape(64, 2), Some("SL")).unwrap_err();
        assert_eq!(error.to_string(), "era E0 has no window_pattern, the config says `SL`");
    }

    #[test]
    fn a_residual_stream_narrower_than_a_gate_is_an_error() {
        let narrow = GptShape { n_embd: 16, n_head: 1, n_kv_head: 1, ..shape(64, 2) };

        let error = Era::E6.config(narrow, None).unwrap_err();

        assert_eq!(error.to_string(), "n_embd is 16, era E6 reads the first 24 channels");
    }
}
