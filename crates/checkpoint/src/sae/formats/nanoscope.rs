//! Our own folders: `nanoscope_sae.json` and `nanoscope_sae.safetensors`.

use nanoscope_sae::{Architecture, SaeConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::python_json;
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat};
use crate::sae::metadata::Metadata;
use crate::sae::path_names::is_beside;
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "nanoscope",
    layout: Some(Layout::new(WEIGHTS_FILE, |folder| folder.files(WEIGHTS_FILE))),
    claims,
    open,
};

pub(crate) const WEIGHTS_FILE: &str = "nanoscope_sae.safetensors";
pub(crate) const CONFIG_FILE: &str = "nanoscope_sae.json";
/// The value of `format`, which names the version.
pub(crate) const FORMAT_NAME: &str = "nanoscope-sae-1";

/// The contents of `nanoscope_sae.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the keys of nanoscope_sae.json")]
pub(crate) struct Description {
    pub(crate) format: String,
    pub(crate) config: SaeConfig,
    pub(crate) hook: String,
    #[serde(default)]
    pub(crate) hook_out: Option<String>,
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

/// The names of the tensors, which are used as `x · W`.
pub(crate) fn names(weight: Weight) -> &'static str {
    match weight {
        Weight::WEnc => "W_enc",
        Weight::BEnc => "b_enc",
        Weight::WDec => "W_dec",
        Weight::BDec => "b_dec",
        Weight::Threshold => "threshold",
        Weight::RMag => "r_mag",
        Weight::BMag => "b_mag",
        Weight::WGate => "W_gate",
        Weight::BGate => "b_gate",
        Weight::WSkip => "W_skip",
    }
}

fn claims(file: &TensorFile) -> Claim {
    Claim::evidence(is_beside(file.path(), WEIGHTS_FILE, CONFIG_FILE))
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let value: Value = json::read(&path)?;
    let read: Description = json::from_value(&path, value.clone())?;
    let Description { format, config, hook, hook_out, metadata } = read;
    if format != FORMAT_NAME {
        let (key, known) = ("format", FORMAT_NAME);
        return Err(CheckpointError::UnknownValue { path, key, found: format, known });
    }
    let mut weights = vec![Weight::WEnc, Weight::BEnc, Weight::WDec, Weight::BDec];
    match config.architecture() {
        Architecture::JumpRelu => weights.push(Weight::Threshold),
        Architecture::Gated => weights.extend([Weight::RMag, Weight::BMag]),
        Architecture::SignedGated => weights.extend([Weight::WGate, Weight::BGate]),
        _ => {}
    }
    if config.skip() {
        weights.push(Weight::WSkip);
    }
    let stored = |weight| (weight, StoredWeight::tensor(names(weight)));
    let metadata = metadata.into_iter().map(|(key, value)| (key, python_json::finite(value)));
    SaeFile {
        hooks: SaeHooks { hook: Some(hook), hook_out },
        weights: weights.into_iter().map(stored).collect(),
        metadata: metadata.collect(),
        description: Some(value),
        ..SaeFile::new(file, FORMAT.name, config)
    }
    .checked()
}
