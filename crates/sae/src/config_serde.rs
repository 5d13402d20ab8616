//! Serde for configurations.
//!
//! ```json
//! {
//!   "d_in": 768, "d_sae": 3072, "d_out": 768,
//!   "architecture": {"type": "topk", "k": 32, "rescale_acts_by_decoder_norm": false},
//!   "normalization": {"type": "expected_average_only_in", "scale": 0.5},
//!   "apply_b_dec_to_input": true,
//!   "skip": false
//! }
//! ```
//!
//! A transcoder whose two activations have the same width has `"transcoder": true`, too.
//!
//! Reading goes through the constructors of [`SaeConfig`], so that only valid configurations are
//! accepted. Unknown keys are errors, and so are keys of another architecture.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{Architecture, Normalization, SaeConfig};

/// The serialised form of a configuration. When reading, only `d_in`, `d_sae` and `architecture` are
/// required.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "SaeConfig")]
struct RawConfig {
    d_in: usize,
    d_sae: usize,
    #[serde(default)]
    d_out: Option<usize>,
    architecture: Architecture,
    #[serde(default = "no_normalization")]
    normalization: Normalization,
    #[serde(default)]
    apply_b_dec_to_input: bool,
    #[serde(default)]
    skip: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transcoder: Option<bool>,
}

fn no_normalization() -> Normalization {
    Normalization::None
}

impl TryFrom<RawConfig> for SaeConfig {
    type Error = crate::SaeError;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        let config = Self::new(raw.d_in, raw.d_sae, raw.architecture)?
            .with_d_out(raw.d_out.unwrap_or(raw.d_in))?
            .with_normalization(raw.normalization)?
            .with_apply_b_dec_to_input(raw.apply_b_dec_to_input)?;
        let config = if raw.skip { config.with_skip() } else { config };
        Ok(if raw.transcoder == Some(true) { config.into_transcoder() } else { config })
    }
}

impl Serialize for SaeConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawConfig {
            d_in: self.d_in(),
            d_sae: self.d_sae(),
            d_out: Some(self.d_out()),
            architecture: self.architecture(),
            normalization: self.normalization(),
            apply_b_dec_to_input: self.apply_b_dec_to_input(),
            skip: self.skip(),
            // Two widths say so already.
            transcoder: (self.is_transcoder() && self.d_in() == self.d_out()).then_some(true),
        };
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SaeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawConfig::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

/// The serialised form of an architecture. The names are SAELens's and sparsify's where they have one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Architecture")]
struct RawArchitecture {
    r#type: ArchitectureType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rescale_acts_by_decoder_norm: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    residual_threshold: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_iterations: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_on_duplicate_support: Option<bool>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum ArchitectureType {
    #[serde(rename = "relu")]
    Relu,
    #[serde(rename = "jumprelu")]
    JumpRelu,
    #[serde(rename = "topk")]
    TopK,
    #[serde(rename = "abstopk")]
    AbsTopK,
    #[serde(rename = "groupmax")]
    GroupMax,
    #[serde(rename = "gated")]
    Gated,
    #[serde(rename = "signed_topk")]
    SignedTopK,
    #[serde(rename = "signed_gated")]
    SignedGated,
    #[serde(rename = "matching_pursuit")]
    MatchingPursuit,
}

impl From<Architecture> for RawArchitecture {
    fn from(architecture: Architecture) -> Self {
        let rescale_acts_by_decoder_norm = match architecture {
            Architecture::TopK { rescale_acts_by_decoder_norm, .. }
            | Architecture::AbsTopK { rescale_acts_by_decoder_norm, .. } => {
                Some(rescale_acts_by_decoder_norm)
            }
            _ => None,
        };
        let (residual_threshold, max_iterations, stop_on_duplicate_support) = match architecture {
            Architecture::MatchingPursuit {
                residual_threshold,
                max_iterations,
                stop_on_duplicate_support,
            } => (Some(residual_threshold), Some(max_iterations), Some(stop_on_duplicate_support)),
            _ => (None, None, None),
        };
        let r#type = match architecture {
            Architecture::Relu => ArchitectureType::Relu,
            Architecture::JumpRelu => ArchitectureType::JumpRelu,
            Architecture::TopK { .. } => ArchitectureType::TopK,
            Architecture::AbsTopK { .. } => ArchitectureType::AbsTopK,
            Architecture::GroupMax { .. } => ArchitectureType::GroupMax,
            Architecture::Gated => ArchitectureType::Gated,
            Architecture::SignedTopK { .. } => ArchitectureType::SignedTopK,
            Architecture::SignedGated => ArchitectureType::SignedGated,
            Architecture::MatchingPursuit { .. } => ArchitectureType::MatchingPursuit,
        };
        Self {
            r#type,
            k: architecture.k(),
            rescale_acts_by_decoder_norm,
            residual_threshold,
            max_iterations,
            stop_on_duplicate_support,
        }
    }
}

impl TryFrom<RawArchitecture> for Architecture {
    type Error = String;

    fn try_from(raw: RawArchitecture) -> Result<Self, String> {
        let RawArchitecture { r#type, k, .. } = raw;
        let rescale = raw.rescale_acts_by_decoder_norm;
        if rescale.is_some()
            && !matches!(r#type, ArchitectureType::TopK | ArchitectureType::AbsTopK)
        {
            let message = "only a topk or abstopk SAE has rescale_acts_by_decoder_norm";
            return Err(message.to_owned());
        }
        let pursuit = (raw.residual_threshold, raw.max_iterations, raw.stop_on_duplicate_support);
        if pursuit != (None, None, None) && !matches!(r#type, ArchitectureType::MatchingPursuit) {
            let message = "only a matching_pursuit SAE has residual_threshold, max_iterations and \
                           stop_on_duplicate_support";
            return Err(message.to_owned());
        }
        let needed = |k: Option<usize>| k.ok_or_else(|| "this architecture needs k".to_owned());
        let rescale_acts_by_decoder_norm = rescale.unwrap_or(false);
        Ok(match r#type {
            ArchitectureType::TopK => Self::TopK { k: needed(k)?, rescale_acts_by_decoder_norm },
            ArchitectureType::AbsTopK => {
                Self::AbsTopK { k: needed(k)?, rescale_acts_by_decoder_norm }
            }
            ArchitectureType::GroupMax => Self::GroupMax { k: needed(k)? },
            ArchitectureType::SignedTopK => Self::SignedTopK { k: needed(k)? },
            _ if k.is_some() => return Err("this architecture has no k".to_owned()),
            ArchitectureType::MatchingPursuit => match pursuit {
                (
                    Some(residual_threshold),
                    Some(max_iterations),
                    Some(stop_on_duplicate_support),
                ) => Self::MatchingPursuit {
                    residual_threshold,
                    max_iterations,
                    stop_on_duplicate_support,
                },
                _ => {
                    let message = "this architecture needs residual_threshold, max_iterations and \
                                   stop_on_duplicate_support";
                    return Err(message.to_owned());
                }
            },
            ArchitectureType::Relu => Self::Relu,
            ArchitectureType::JumpRelu => Self::JumpRelu,
            ArchitectureType::Gated => Self::Gated,
            ArchitectureType::SignedGated => Self::SignedGated,
        })
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawArchitecture::from(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawArchitecture::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

/// The serialised form of a normalisation, with SAELens's names.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Normalization")]
struct RawNormalization {
    r#type: NormalizationType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NormalizationType {
    None,
    ExpectedAverageOnlyIn,
    ConstantNormRescale,
    LayerNorm,
}

impl From<Normalization> for RawNormalization {
    fn from(normalization: Normalization) -> Self {
        let (r#type, scale) = match normalization {
            Normalization::None => (NormalizationType::None, None),
            Normalization::ExpectedAverageOnlyIn { scale } => {
                (NormalizationType::ExpectedAverageOnlyIn, Some(scale))
            }
            Normalization::ConstantNormRescale => (NormalizationType::ConstantNormRescale, None),
            Normalization::LayerNorm => (NormalizationType::LayerNorm, None),
        };
        Self { r#type, scale }
    }
}

impl TryFrom<RawNormalization> for Normalization {
    type Error = &'static str;

    fn try_from(raw: RawNormalization) -> Result<Self, &'static str> {
        match (raw.r#type, raw.scale) {
            (NormalizationType::ExpectedAverageOnlyIn, Some(scale)) => {
                Ok(Self::ExpectedAverageOnlyIn { scale })
            }
            (NormalizationType::ExpectedAverageOnlyIn, None) => {
                Err("expected_average_only_in needs scale")
            }
            (_, Some(_)) => Err("only expected_average_only_in has scale"),
            (NormalizationType::None, None) => Ok(Self::None),
            (NormalizationType::ConstantNormRescale, None) => Ok(Self::ConstantNormRescale),
            (NormalizationType::LayerNorm, None) => Ok(Self::LayerNorm),
        }
    }
}

impl Serialize for Normalization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawNormalization::from(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Normalization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawNormalization::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Architecture; 11] = [
        Architecture::Relu,
        Architecture::JumpRelu,
        Architecture::TopK { k: 2, rescale_acts_by_decoder_norm: false },
        Architecture::TopK { k: 1, rescale_acts_by_decoder_norm: true },
        Architecture::AbsTopK { k: 2, rescale_acts_by_decoder_norm: false },
        Architecture::AbsTopK { k: 2, rescale_acts_by_decoder_norm: true },
        Architecture::GroupMax { k: 4 },
        Architecture::Gated,
        Architecture::SignedTopK { k: 8 },
        Architecture::SignedGated,
        Architecture::MatchingPursuit {
            residual_threshold: 0.01,
            max_iterations: 4,
            stop_on_duplicate_support: false,
        },
    ];

    fn read(json: &str) -> Result<SaeConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_configuration_survives_json() {
        for architecture in EVERY {
            for normalization in [
                Normalization::None,
                Normalization::ExpectedAverageOnlyIn { scale: 0.1 },
                Normalization::ConstantNormRescale,
                Normalization::LayerNorm,
            ] {
                let config = SaeConfig::new(4, 8, architecture)
                    .and_then(|config| config.with_normalization(normalization))
                    .unwrap();
                // Matching pursuit cannot have two widths.
                let wide = config.clone().with_d_out(6).unwrap_or_else(|_| config.clone());
                let transcoder = wide.with_skip();
                let same_width = config.clone().into_transcoder();
                let applied = config.clone().with_apply_b_dec_to_input(true).unwrap();

                for config in [config, transcoder, same_width, applied] {
                    let json = serde_json::to_string(&config).unwrap();
                    assert_eq!(read(&json).unwrap(), config, "{json}");
                }
            }
        }
    }

    #[test]
    fn json_has_every_key_and_tags_what_has_parameters() {
        let config = SaeConfig::new(4, 8, EVERY[2])
            .and_then(|config| {
                config.with_normalization(Normalization::ExpectedAverageOnlyIn { scale: 0.5 })
            })
            .unwrap();

        assert_eq!(
            serde_json::to_string(&config).unwrap(),
            concat!(
                r#"{"d_in":4,"d_sae":8,"d_out":4,"#,
                r#""architecture":{"type":"topk","k":2,"rescale_acts_by_decoder_norm":false},"#,
                r#""normalization":{"type":"expected_average_only_in","scale":0.5},"#,
                r#""apply_b_dec_to_input":false,"skip":false}"#
            )
        );
        assert_eq!(
            read(r#"{"d_in": 4, "d_sae": 8, "architecture": {"type": "signed_gated"}}"#).unwrap(),
            SaeConfig::new(4, 8, Architecture::SignedGated).unwrap()
        );
    }

    #[test]
    fn an_architecture_is_named_in_json_as_in_the_field() {
        let names = EVERY.map(|architecture| {
            serde_json::to_value(architecture).unwrap()["type"].as_str().unwrap().to_owned()
        });

        assert_eq!(
            names,
            [
                "relu",
                "jumprelu",
                "topk",
                "topk",
                "abstopk",
                "abstopk",
                "groupmax",
                "gated",
                "signed_topk",
                "signed_gated",
                "matching_pursuit"
            ]
        );
    }

    #[test]
    fn invalid_configurations_are_errors() {
        let with = |architecture: &str, rest: &str| {
            format!(r#"{{"d_in": 4, "d_sae": 8, "architecture": {architecture}{rest}}}"#)
        };
        let relu = |rest: &str| with(r#"{"type": "relu"}"#, rest);
        let cases = [
            (
                r#"{"d_in": 0, "d_sae": 8, "architecture": {"type": "relu"}}"#.to_owned(),
                "d_in is 0",
            ),
            (
                r#"{"d_in": 4, "d_sae": 18446744073709551615, "architecture": {"type": "relu"}}"#
                    .to_owned(),
                "d_sae is 18446744073709551615",
            ),
            (with(r#"{"type": "topk", "k": 9}"#, ""), "k is 9, it must be in 1..=8"),
            (with(r#"{"type": "topk", "k": 0}"#, ""), "k is 0, it must be in 1..=8"),
            (
                with(r#"{"type": "groupmax", "k": 3}"#, ""),
                "8 features cannot be divided into 3 groups",
            ),
            (with(r#"{"type": "topk"}"#, ""), "needs k"),
            (with(r#"{"type": "gated", "k": 2}"#, ""), "has no k"),
            (
                with(r#"{"type": "relu", "rescale_acts_by_decoder_norm": true}"#, ""),
                "only a topk or abstopk SAE has rescale_acts_by_decoder_norm",
            ),
            (
                with(r#"{"type": "relu", "max_iterations": 2}"#, ""),
                "only a matching_pursuit SAE has residual_threshold",
            ),
            (
                with(r#"{"type": "matching_pursuit", "max_iterations": 2}"#, ""),
                "needs residual_threshold",
            ),
            (with(r#"{"type": "topk", "k": 2, "b": 1}"#, ""), "unknown field `b`"),
            (with(r#"{"type": "top-k", "k": 2}"#, ""), "unknown variant `top-k`"),
            (with(r#"{"k": 2}"#, ""), "missing field `type`"),
            (with(r#""relu""#, ""), "invalid type: string \"relu\""),
            (relu(r#", "d_out": 0"#), "d_out is 0"),
            (relu(r#", "d_out": 6, "apply_b_dec_to_input": true"#), "b_dec has 6 numbers"),
            (
                relu(r#", "normalization": {"type": "expected_average_only_in", "scale": 1e39}"#),
                "scale is inf",
            ),
            (
                relu(r#", "normalization": {"type": "expected_average_only_in", "scale": -1}"#),
                "scale is -1",
            ),
            (relu(r#", "normalization": {"type": "expected_average_only_in"}"#), "needs scale"),
            (
                relu(r#", "normalization": {"type": "layer_norm", "scale": 1}"#),
                "only expected_average_only_in has scale",
            ),
            (relu(r#", "normalization": {"type": "batch_norm"}"#), "unknown variant `batch_norm`"),
            (relu(r#", "skip": 1"#), "invalid type: integer `1`"),
            (relu(r#", "dtype": "float32""#), "unknown field `dtype`"),
        ];
        for (json, expected) in cases {
            let error = read(&json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
