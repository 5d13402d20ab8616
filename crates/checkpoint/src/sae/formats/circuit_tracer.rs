//! circuit-tracer's transcoders: `layer_0.safetensors`, `layer_1.safetensors`, … under one
//! `config.yaml`.

use std::path::PathBuf;

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;

use crate::container::TensorFile;
use crate::error::{CheckpointError, SaeFileError};
use crate::files;
use crate::read::{json, yaml};
use crate::sae::formats::sae_format::{Claim, Folder, Layout, SaeFormat, file_name};
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "circuit-tracer",
    layout: Some(Layout::new("layer_<i>.safetensors with config.yaml", files)),
    claims,
    open,
};

const CONFIG_FILE: &str = "config.yaml";
const THRESHOLD: &str = "activation_function.threshold";

/// The keys of `config.yaml` that determine what is computed, and where.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the keys of circuit-tracer's config.yaml")]
struct RawConfig {
    model_kind: String,
    feature_input_hook: String,
    feature_output_hook: String,
    /// One file per layer, if they are not all in this folder.
    transcoders: Option<Vec<String>>,
}

/// The keys of [`RawConfig`], and those with the names of the model and the run.
const KEYS: [&str; 6] = [
    "model_kind",
    "feature_input_hook",
    "feature_output_hook",
    "transcoders",
    "model_name",
    "scan",
];

/// Returns the files with a layer's transcoder, in the order of the layers.
fn files(folder: &Folder<'_>) -> Vec<PathBuf> {
    if folder.file(CONFIG_FILE).is_none() {
        return Vec::new();
    }
    let with = |is: fn(&str) -> bool| {
        folder.paths.iter().filter(move |path| file_name(path).is_some_and(is))
    };
    let mut files: Vec<_> = with(|name| layer(name).is_some()).collect();
    files.sort_by_key(|path| file_name(path).and_then(layer));
    // One file of a cross-layer transcoder is enough to refuse it by name.
    files.extend(with(is_cross_layer).take(1));
    files.into_iter().cloned().collect()
}

/// Parses the layer in a file name, `layer_3.safetensors`.
fn layer(name: &str) -> Option<usize> {
    let stem = name.strip_suffix(".safetensors")?;
    number_after(stem, "layer_").filter(|layer| stem == format!("layer_{layer}"))
}

/// Returns whether a file of that name is part of a cross-layer transcoder.
fn is_cross_layer(name: &str) -> bool {
    name.starts_with("W_enc_") && name.ends_with(".safetensors")
}

fn claims(file: &TensorFile) -> Claim {
    let path = file.path();
    let is_named = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| layer(name).is_some() || is_cross_layer(name));
    Claim::evidence(is_named && files::is_file(&path.with_file_name(CONFIG_FILE)))
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description = yaml::read(&path)?;
    json::check_keys(&path, &description, &KEYS)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    match raw.model_kind.as_str() {
        "transcoder_set" => {}
        "cross_layer_transcoder" => {
            let what = "a cross_layer_transcoder (writes to several layers)".to_owned();
            return Err(CheckpointError::Unsupported { path, what });
        }
        other => {
            return Err(CheckpointError::UnknownValue {
                path,
                key: "model_kind",
                found: other.to_owned(),
                known: "transcoder_set",
            });
        }
    }
    let layer = raw.layer(&file)?;

    let [d_sae, d_in] = file.matrix_shape("W_enc")?;
    let has_threshold = file.info(THRESHOLD).is_ok();
    let architecture = if has_threshold { Architecture::JumpRelu } else { Architecture::Relu };
    let config = SaeConfig::new(d_in, d_sae, architecture)
        .map_err(|source| SaeFileError::Sae { path: file.path().to_owned(), source })?;
    let mut weights = vec![
        // One row per feature, as in the decoder.
        (Weight::WEnc, StoredWeight::transposed("W_enc")),
        (Weight::BEnc, StoredWeight::tensor("b_enc")),
        (Weight::WDec, StoredWeight::tensor("W_dec")),
        (Weight::BDec, StoredWeight::tensor("b_dec")),
    ];
    if has_threshold {
        weights.push((Weight::Threshold, StoredWeight::tensor(THRESHOLD)));
    }
    let config = if file.info("W_skip").is_ok() {
        weights.push((Weight::WSkip, StoredWeight::transposed("W_skip")));
        config.with_skip()
    } else {
        config
    };
    let at = |hook: &str| format!("blocks.{layer}.{hook}");
    let hooks = SaeHooks::between(at(&raw.feature_input_hook), at(&raw.feature_output_hook));
    let description = Some(description);
    SaeFile { hooks, weights, description, ..SaeFile::new(file, FORMAT.name, config) }.checked()
}

impl RawConfig {
    /// Returns the layer of `file`: its position in the list, or the number in its name.
    fn layer(&self, file: &TensorFile) -> Result<usize, CheckpointError> {
        let names = names(file.path());
        let name = names.first().map_or("", String::as_str);
        // A URL can end with a revision.
        let is_it = |entry: &String| {
            let file = entry.rsplit('/').next().unwrap_or(entry);
            file.split('@').next() == Some(name)
        };
        let listed = self.transcoders.iter().flatten().position(is_it);
        listed.or_else(|| layer(name)).ok_or_else(|| CheckpointError::NotInPath {
            path: file.path().to_owned(),
            what: "its layer",
            example: "layer_3.safetensors",
        })
    }
}
