//! nanochat-SAE's files: the output of `save_sae`, and its trainer's checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, SaeConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::container::{PlainValue, TensorFile};
use crate::error::{CheckpointError, SaeFileError};
use crate::files;
use crate::python_json;
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, Folder, Layout, SaeFormat};
use crate::sae::metadata::Metadata;
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(crate) const FORMAT: SaeFormat = SaeFormat {
    name: "nanochat-SAE",
    layout: Some(Layout {
        names: "best_model.pt",
        files,
        weights_dir: None,
        // The trainer prepares a copy of the SAE for Neuronpedia there.
        copies_dir: Some("neuronpedia_upload"),
    }),
    claims,
    open,
};

/// The key of the weights.
pub(crate) const STATE_DICT: &str = "sae_state_dict";
/// The key of the configuration.
pub(crate) const CONFIG: &str = "config";
/// The configuration beside files that do not contain their own.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The weights of an SAE that was prepared for Neuronpedia. Those of a gate are left out.
const UPLOADED: [&str; 4] = ["W_enc", "b_enc", "W_dec", "b_dec"];
/// The prefix of the names of the weights.
const PREFIX: &str = "sae_state_dict.";

/// The reference's `SAEConfig`: the keys that `to_dict` writes, and the training keys that `from_dict`
/// accepts as well.
///
/// Only keys that determine what is computed are used; the rest is kept for people.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "the keys of an SAE's configuration")]
struct RawSaeConfig {
    d_in: usize,
    d_sae: Option<usize>,
    #[serde(default = "default_activation")]
    activation: String,
    #[serde(default = "default_k")]
    k: usize,
    #[serde(default = "default_l1_coefficient")]
    l1_coefficient: f64,
    #[serde(default = "default_normalize_decoder")]
    normalize_decoder: bool,
    #[serde(default = "default_dtype")]
    dtype: String,
    #[serde(default = "default_hook_point")]
    hook_point: String,
    #[serde(default = "default_expansion_factor")]
    expansion_factor: usize,

    /// All other keys, which must be among [`TRAINING_KEYS`].
    #[serde(flatten, skip_serializing)]
    others: BTreeMap<String, serde_json::Value>,
}

/// Keys of `SAEConfig` that only its trainer uses. `to_dict` omits them, `from_dict` accepts them.
const TRAINING_KEYS: [&str; 9] = [
    "num_activations",
    "batch_size",
    "num_epochs",
    "learning_rate",
    "warmup_steps",
    "dead_latent_threshold",
    "resample_interval",
    "eval_every",
    "save_every",
];

fn default_activation() -> String {
    "topk".to_owned()
}
pub(crate) fn default_k() -> usize {
    64
}
pub(crate) fn default_l1_coefficient() -> f64 {
    1e-3
}
pub(crate) fn default_normalize_decoder() -> bool {
    true
}
pub(crate) fn default_dtype() -> String {
    "bfloat16".to_owned()
}
fn default_hook_point() -> String {
    HookPoint::ResidPost(0).to_string()
}
fn default_expansion_factor() -> usize {
    8
}

impl RawSaeConfig {
    /// Returns `d_sae`, which `SAEConfig` derives if it is missing.
    fn d_sae(&self) -> usize {
        self.d_sae.unwrap_or(self.d_in.saturating_mul(self.expansion_factor))
    }

    fn parse(&self, path: &Path) -> Result<(SaeConfig, HookPoint), CheckpointError> {
        if let Some(key) = self.others.keys().find(|key| !TRAINING_KEYS.contains(&key.as_str())) {
            return Err(CheckpointError::UnknownKey { path: path.to_owned(), key: key.clone() });
        }
        let architecture = match self.activation.as_str() {
            "topk" => Architecture::SignedTopK { k: self.k },
            "relu" => Architecture::Relu,
            "gated" => Architecture::SignedGated,
            other => {
                return Err(CheckpointError::UnknownValue {
                    path: path.to_owned(),
                    key: "activation",
                    found: other.to_owned(),
                    known: "topk, relu, gated",
                });
            }
        };
        let config = SaeConfig::new(self.d_in, self.d_sae(), architecture)
            .map_err(|source| SaeFileError::Sae { path: path.to_owned(), source })?;
        let hook = self
            .hook_point
            .parse()
            .map_err(|source| SaeFileError::Hook { path: path.to_owned(), source })?;
        Ok((config, hook))
    }
}

/// Returns the one SAE of a training: the best model, or the last checkpoint, or the final one.
fn files(folder: &Folder<'_>) -> Vec<PathBuf> {
    let chosen = folder
        .file("best_model.pt")
        .or_else(|| folder.latest(step))
        .or_else(|| folder.file("sae_final.pt"));
    chosen.into_iter().map(Path::to_owned).collect()
}

/// Parses the step in a checkpoint's name, `checkpoint_step5000.pt`.
fn step(name: &str) -> Option<u64> {
    name.strip_prefix("checkpoint_step")?.strip_suffix(".pt")?.parse().ok()
}

/// Claims files with the key of the weights, and the weights alone beside a `config.json` like that of
/// an SAE prepared for Neuronpedia.
fn claims(file: &TensorFile) -> Claim {
    Claim::evidence(file.value(STATE_DICT).is_some() || is_upload(file))
}

/// Returns whether the file has the weights of an SAE that was prepared for Neuronpedia.
fn is_upload(file: &TensorFile) -> bool {
    let has_weights = || UPLOADED.iter().all(|name| file.info(name).is_ok());
    let has_config = || {
        let config = json::read::<Value>(&file.path().with_file_name(CONFIG_FILE));
        let has = |key| config.as_ref().is_ok_and(|config| config.get(key).is_some());
        has("activation") && has("hook_point")
    };
    file.is_pt() && has_weights() && has_config()
}

/// Opens the SAE in `file`. A configuration inside it takes precedence over the folder's.
fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    if file.value(STATE_DICT).is_none() {
        return open_upload(file);
    }
    let path = file.path();
    let beside = path.with_file_name(CONFIG_FILE);
    let (raw, described_in): (RawSaeConfig, &Path) = match file.value(CONFIG) {
        Some(value) => (json::from_value(path, json::from_pickle(value))?, path),
        None if files::is_file(&beside) => (json::read(&beside)?, &beside),
        None => return Err(CheckpointError::NoConfig { path: path.to_owned() }),
    };
    let (config, hook) = raw.parse(described_in)?;
    let own = |name: &str| StoredWeight::tensor(format!("{PREFIX}{name}"));
    let mut weights = vec![
        (Weight::WEnc, own("W_enc")),
        (Weight::BEnc, own("b_enc")),
        (Weight::WDec, own("W_dec")),
        (Weight::BDec, own("b_dec")),
    ];
    if config.architecture() == Architecture::SignedGated {
        weights.extend([(Weight::WGate, own("W_gate")), (Weight::BGate, own("b_gate"))]);
    }
    let description = serde_json::to_value(&raw).expect("numbers and strings make JSON");
    SaeFile {
        hooks: SaeHooks::at(hook.to_string()),
        weights,
        prefix: PREFIX,
        description: Some(description),
        metadata: metadata(&file),
        ..SaeFile::new(file, FORMAT.name, config)
    }
    .checked()
}

/// Opens an SAE that was prepared for Neuronpedia, with its `config.json`.
fn open_upload(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description: Value = json::read(&path)?;
    let mut entries: Map<String, Value> = json::from_value(&path, description.clone())?;
    // The keys of other activations than its own are null.
    for key in ["k", "l1_coefficient"] {
        entries.retain(|found, value| found != key || !value.is_null());
    }
    let is_other = |key: &str| ["model_name", "model_version", "metadata"].contains(&key);
    let (metadata, entries): (Metadata, Map<_, _>) =
        entries.into_iter().partition(|(key, _)| is_other(key));
    let has_k = entries.contains_key("k");
    let raw: RawSaeConfig = json::from_value(&path, entries.into())?;
    match raw.activation.as_str() {
        "topk" if !has_k => return Err(CheckpointError::MissingKey { path, key: "k" }),
        "gated" => {
            let what = "a gated SAE prepared for Neuronpedia, without its gate,".to_owned();
            return Err(CheckpointError::Unsupported { path: file.path().to_owned(), what });
        }
        _ => {}
    }
    let (config, hook) = raw.parse(&path)?;
    SaeFile {
        hooks: SaeHooks::at(hook.to_string()),
        description: Some(description),
        metadata,
        ..SaeFile::new(file, FORMAT.name, config)
    }
    .checked()
}

/// Returns the entries beside weights and configuration that consist of builtin Python types only.
/// A trainer's checkpoint also has tensors there, such as the state of its optimiser.
fn metadata(file: &TensorFile) -> Metadata {
    file.values()
        .filter(|(key, value)| ![STATE_DICT, CONFIG].contains(key) && is_builtin(value))
        .map(|(key, value)| (key.to_owned(), python_json::finite(json::from_pickle(value))))
        .collect()
}

fn is_builtin(value: &PlainValue) -> bool {
    match value {
        PlainValue::None
        | PlainValue::Bool(_)
        | PlainValue::Int(_)
        | PlainValue::Float(_)
        | PlainValue::Text(_) => true,
        PlainValue::List(items) => items.iter().all(is_builtin),
        PlainValue::Dict(entries) => entries.values().all(is_builtin),
        PlainValue::Bytes(_) | PlainValue::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_with_tensors_are_not_metadata() {
        let tensor = PlainValue::Other("torch.FloatTensor".to_owned());
        let dict = |value: &PlainValue| {
            PlainValue::Dict([("state".to_owned(), value.clone())].into_iter().collect())
        };
        let list = |value: &PlainValue| PlainValue::List(vec![PlainValue::None, value.clone()]);

        for builtin in [PlainValue::Int(7), PlainValue::Float(f64::INFINITY)] {
            assert!(is_builtin(&dict(&list(&builtin))), "{builtin:?}");
        }
        for other in [tensor, PlainValue::Bytes(1)] {
            assert!(!is_builtin(&other), "{other:?}");
            assert!(!is_builtin(&dict(&list(&other))), "{other:?}");
        }
    }
}
