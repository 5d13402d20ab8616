//! nanochat's own checkpoints: `model_<step>.pt` and `meta_<step>.json`.

use std::path::Path;

use nanoscope_transformer::{ConfigError, Era, GptConfig, GptShape};
use serde::{Deserialize, Serialize};

use crate::container::TensorSource;
use crate::error::CheckpointError;
use crate::model::description::Description;
use crate::model::kind::ModelKind;
use crate::model::prefix::{Prefix, find_prefix};
use crate::model::weight_naming::WeightNaming;
use crate::read::json;

/// nanochat's `model_config`, with the keys of every era.
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

    /// Returns the configuration of a model of `era`.
    pub(crate) fn config(&self, era: Era) -> Result<GptConfig, ConfigError> {
        era.config(self.shape(), self.window_pattern.as_deref())
    }
}

/// Describes the model with the weights `source`, whose configuration is in the file at `meta`
/// unless the weights file contains it.
pub(super) fn describe(
    source: TensorSource,
    meta: Option<&Path>,
    asked: Option<Era>,
) -> Result<Description, CheckpointError> {
    let weights = source.path().to_owned();
    let value = |key| source.only().and_then(|file| file.value(key));
    let Prefix { prefix, root } = find_prefix(&source)?;
    let is_inside = !root.is_empty() && value("config").is_some();
    let raw: RawConfig = if is_inside {
        let value = value("config").expect("the config was just seen");
        json::from_value(&weights, json::from_pickle(value))?
    } else {
        read_meta(&weights, meta)?
    };
    let shape_of =
        |name: &str| source.info(&format!("{prefix}{name}")).map(|info| info.shape.clone());
    let starts = |name: &str| {
        let name = format!("{prefix}{name}");
        source.tensors().any(|(tensor, _)| tensor.starts_with(&name))
    };
    let recognised = recognise(&raw, starts, shape_of);
    let (era, also_fits) = settle(&weights, &recognised, asked)?;
    let config = raw.config(era).map_err(|source| CheckpointError::Config {
        path: meta.unwrap_or(&weights).to_owned(),
        source,
    })?;
    let raw = serde_json::to_value(&raw).expect("numbers and strings make JSON");
    let naming = WeightNaming::Nanochat { prefix, root };
    let description =
        Description { source, naming, config, kind: ModelKind::Nanochat(era), also_fits, raw };
    description.check()?;
    Ok(description)
}

fn read_meta(weights: &Path, meta: Option<&Path>) -> Result<RawConfig, CheckpointError> {
    /// nanochat writes more, different in each era; only the model's configuration is needed.
    #[derive(Deserialize)]
    struct Meta {
        model_config: RawConfig,
    }

    let Some(path) = meta else {
        return Err(CheckpointError::NoConfig { path: weights.to_owned() });
    };
    Ok(json::read::<Meta>(path)?.model_config)
}

/// Returns the era to read the weights as, and the others that fit if none was asked for.
fn settle(
    path: &Path,
    recognised: &Recognised,
    asked: Option<Era>,
) -> Result<(Era, Vec<Era>), CheckpointError> {
    let fits: &[Era] = match recognised {
        // Without padding the two are the same model.
        Recognised::Era(Era::E0) => &[Era::E0, Era::E0p],
        Recognised::Era(era) => std::slice::from_ref(era),
        Recognised::Ambiguous(eras) => eras,
        Recognised::Unsupported(what) => {
            return Err(CheckpointError::UnsupportedEra { path: path.to_owned(), what });
        }
    };
    match asked {
        None if fits[0] == Era::E0 => Ok((Era::E0, Vec::new())),
        None => Ok((fits[0], fits[1..].to_vec())),
        Some(era) if fits.contains(&era) => Ok((era, Vec::new())),
        Some(era) => {
            let fits = fits.to_vec();
            Err(CheckpointError::EraMismatch { path: path.to_owned(), asked: era, fits })
        }
    }
}

/// The result of recognising the era of a checkpoint by its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Recognised {
    /// The weights belong to this era.
    Era(Era),
    /// The weights fit several eras; the first is the likeliest.
    Ambiguous(&'static [Era]),
    /// The weights belong to an experiment that lasted for hours and was never released.
    Unsupported(&'static str),
}

/// Eras with the same keys, which differ only in the softcap and the rotary tables.
const LIKE_E3: &[Era] = &[Era::E3, Era::E4, Era::E4b];

/// Recognises the era by the keys and shapes in a state dict (prefixes removed).
///
/// `shape_of` returns the shape of a key, if the state dict has it.
fn recognise(
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
    // If any layer has a value embedding, the last one has.
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
