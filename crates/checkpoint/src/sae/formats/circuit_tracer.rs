//! circuit-tracer's transcoders: `layer_0.safetensors`, `layer_1.safetensors`, … under one
//! `config.yaml`.

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::read::{json, yaml};
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::{Place, SaeFile, Source, Weight};

pub(crate) const CONFIG_FILE: &str = "config.yaml";
const THRESHOLD: &str = "activation_function.threshold";

/// What of `config.yaml` decides numbers or places.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the keys of circuit-tracer's config.yaml")]
struct RawConfig {
    model_kind: String,
    feature_input_hook: String,
    feature_output_hook: String,
    /// A file per layer, if they are not all in this folder.
    transcoders: Option<Vec<String>>,
}

/// The keys of [`RawConfig`], and those that name the model and the run.
const KEYS: [&str; 6] = [
    "model_kind",
    "feature_input_hook",
    "feature_output_hook",
    "transcoders",
    "model_name",
    "scan",
];

/// The layer that a file's name says, `layer_3.safetensors`.
pub(crate) fn layer(name: &str) -> Option<usize> {
    let stem = name.strip_suffix(".safetensors")?;
    number_after(stem, "layer_").filter(|layer| stem == format!("layer_{layer}"))
}

/// Whether a file of that name is a part of a cross-layer transcoder.
pub(crate) fn is_cross_layer(name: &str) -> bool {
    name.starts_with("W_enc_") && name.ends_with(".safetensors")
}

/// Whether `file` is of this format, going by its name and what lies beside it.
pub(crate) fn claims(file: &TensorFile) -> bool {
    let path = file.path();
    let is_named = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| layer(name).is_some() || is_cross_layer(name));
    is_named && path.with_file_name(CONFIG_FILE).is_file()
}

pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description = yaml::read(&path)?;
    json::check_keys(&path, &description, &KEYS)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    match raw.model_kind.as_str() {
        "transcoder_set" => {}
        "cross_layer_transcoder" => {
            let what = "a cross_layer_transcoder, which writes to several layers,".to_owned();
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
        .map_err(|source| CheckpointError::Sae { path: file.path().to_owned(), source })?;
    let mut sources = vec![
        // A row per feature, as the decoder's.
        (Weight::WEnc, Source::transposed("W_enc")),
        (Weight::BEnc, Source::tensor("b_enc")),
        (Weight::WDec, Source::tensor("W_dec")),
        (Weight::BDec, Source::tensor("b_dec")),
    ];
    if has_threshold {
        sources.push((Weight::Threshold, Source::tensor(THRESHOLD)));
    }
    let config = if file.info("W_skip").is_ok() {
        sources.push((Weight::WSkip, Source::transposed("W_skip")));
        config.with_skip()
    } else {
        config
    };
    let at = |hook: &str| format!("blocks.{layer}.{hook}");
    let place = Place::between(at(&raw.feature_input_hook), at(&raw.feature_output_hook));
    let description = Some(description);
    SaeFile { place, sources, description, ..SaeFile::of(file, "circuit-tracer", config) }.checked()
}

impl RawConfig {
    /// The layer of `file`: its place in the list, or else the number in its name.
    fn layer(&self, file: &TensorFile) -> Result<usize, CheckpointError> {
        let names = names(file.path());
        let name = names.first().map_or("", String::as_str);
        // A revision can stand behind an address.
        let is_it = |entry: &String| {
            let file = entry.rsplit('/').next().unwrap_or(entry);
            file.split('@').next() == Some(name)
        };
        let listed = self.transcoders.iter().flatten().position(is_it);
        listed.or_else(|| layer(name)).ok_or_else(|| CheckpointError::NotInPath {
            path: file.path().to_owned(),
            what: "which layer it is of",
            example: "layer_3.safetensors",
        })
    }
}
