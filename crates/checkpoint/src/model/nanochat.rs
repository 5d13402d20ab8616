//! What nanochat's `meta_NNNNNN.json` and state dict say of a model.

use nanoscope_transformer::{ConfigError, Era, GptConfig, GptShape};
use serde::{Deserialize, Serialize};

/// nanochat's `model_config`, as it is in files.
///
/// One struct for the keys of every era.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    pub(crate) sequence_len: usize,
    pub(crate) vocab_size: usize,
    pub(crate) n_layer: usize,
    pub(crate) n_head: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) n_kv_head: Option<usize>,
    pub(crate) n_embd: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) window_pattern: Option<String>,
}

impl RawConfig {
    fn shape(&self) -> GptShape {
        GptShape {
            sequence_len: self.sequence_len,
            vocab_size: self.vocab_size,
            n_layer: self.n_layer,
            n_head: self.n_head,
            n_kv_head: self.n_kv_head.unwrap_or(self.n_head),
            n_embd: self.n_embd,
        }
    }

    /// The configuration of a model of `era`.
    pub(crate) fn config(&self, era: Era) -> Result<GptConfig, ConfigError> {
        era.config(self.shape(), self.window_pattern.as_deref())
    }
}

/// What the weights of a checkpoint say of its era.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// The weights belong to this era.
    Era(Era),
    /// The weights fit several eras; the first is the likeliest.
    Ambiguous(&'static [Era]),
    /// The weights belong to an experiment that lived for hours and was never released.
    Unsupported(&'static str),
}

/// Eras with the same keys: only the softcap and the rotary tables differ.
const LIKE_E3: &[Era] = &[Era::E3, Era::E4, Era::E4b];

/// Tells the era by the keys and shapes in a state dict (prefixes removed).
///
/// `shape_of` gives the shape of a key, if the state dict has it.
pub(crate) fn recognise(
    raw: &RawConfig,
    has_key_starting: impl Fn(&str) -> bool,
    shape_of: impl Fn(&str) -> Option<Vec<usize>>,
) -> Recognised {
    let has = |name: &str| shape_of(name).is_some();
    if has("smear_gate.weight") {
        return Recognised::Era(Era::E6);
    }
    if has_key_starting("value_embed_A") {
        return Recognised::Unsupported("E2a (value_embed_A and value_embed_B, 2026-01-16)");
    }
    if has("value_embed.weight") {
        return Recognised::Unsupported("E2b (one value_embed for all layers, 2026-01-16)");
    }
    if has("v0_lambdas") {
        return Recognised::Unsupported("E2c (ungated value_embeds with v0_lambdas, 2026-01-16)");
    }
    if has("bigram_embed.embed.weight") {
        return Recognised::Era(Era::E3b);
    }
    // The last layer always has a value embedding, if any has.
    let last = raw.n_layer.saturating_sub(1);
    match shape_of(&format!("transformer.h.{last}.attn.ve_gate.weight")).as_deref() {
        Some([_, 12]) => return Recognised::Era(Era::E5),
        Some(_) => return Recognised::Ambiguous(LIKE_E3),
        None => {}
    }
    if has("resid_lambdas") {
        let windowed = raw.window_pattern.is_some();
        return Recognised::Era(if windowed { Era::E1w } else { Era::E1 });
    }
    match shape_of("transformer.wte.weight").as_deref() {
        Some([rows, _]) if *rows != raw.vocab_size => Recognised::Era(Era::E0p),
        _ => Recognised::Era(Era::E0),
    }
}
