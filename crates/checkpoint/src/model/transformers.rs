//! Models in the layout of Hugging Face's transformers: `config.json`, and `model.safetensors` or
//! shards. Here are nanochat's; the other families are in `families`.
//!
//! nanochat's models in this layout have the parts of era E0, and constants in `config.json` that nanochat's code
//! fixes: MLP width, norm epsilon, softcap and rotary base. They are not an era of their own,
//! because the constants differ from checkpoint to checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use nanoscope_transformer::{Era, GptConfig, GptShape, RopeTables};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::container::{Order, TensorSource};
use crate::error::CheckpointError;
use crate::model::description::Description;
use crate::model::families::{Family, Names, model_types};
use crate::model::file_keys::{transformers_key, with_keys};
use crate::model::kind::ModelKind;
use crate::model::weight_naming::WeightNaming;
use crate::python_json::unmarked;
use crate::read::json;

/// The only supported model type.
const MODEL_TYPE: &str = "nanochat";

/// Maximum length of a `config.json` in bytes; transformers writes less than a thousand.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The era of nanochat that was ported to transformers.
const ERA: Era = Era::E0;

/// The keys that identify the program that wrote a `config.json`.
#[derive(Deserialize)]
#[serde(expecting = "a model's configuration")]
struct Tag {
    model_type: Option<String>,
    architectures: Option<IgnoredAny>,
    format: Option<IgnoredAny>,
}

/// transformers' `NanoChatConfig`. Missing keys have their defaults, except for sizes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "a model's configuration")]
struct RawConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    max_position_embeddings: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_dim: Option<usize>,
    #[serde(default = "default_hidden_act")]
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default = "default_rms_norm_eps")]
    rms_norm_eps: f64,
    #[serde(default = "default_final_logit_softcapping")]
    final_logit_softcapping: Option<f64>,
    #[serde(default)]
    tie_word_embeddings: bool,
    rope_parameters: Option<Map<String, Value>>,
    /// Before version 5 these were the two keys of `rope_parameters`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<Map<String, Value>>,

    /// All other keys, which must be among [`HARMLESS_KEYS`].
    #[serde(flatten, skip_serializing)]
    others: BTreeMap<String, Value>,
}

/// Keys without effect on a forward pass: options of training, generation, classifiers and output, and
/// the program and number type that the file was written with.
const HARMLESS_KEYS: [&str; 20] = [
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "use_return_dict",
];

fn default_hidden_act() -> String {
    "relu2".to_owned()
}
fn default_rms_norm_eps() -> f64 {
    1e-6
}
#[expect(clippy::unnecessary_wraps, reason = "null is a value of this key, but not its default")]
fn default_final_logit_softcapping() -> Option<f64> {
    Some(15.0)
}
const DEFAULT_ROPE_THETA: f64 = 10_000.0;

/// Returns whether the `config.json` at `path` was written by transformers rather than by us.
pub(crate) fn is_transformers(path: &Path) -> Result<bool, CheckpointError> {
    let Tag { model_type, architectures, format } = json::read(path)?;
    Ok((model_type.is_some() || architectures.is_some()) && format.is_none())
}

/// Describes the model with the weights `source` and the configuration at `path`.
pub(crate) fn describe(
    source: TensorSource,
    path: &Path,
    asked: Option<Era>,
) -> Result<Description, CheckpointError> {
    let Tag { model_type, .. } = json::read(path)?;
    if let Some(found) = model_type.filter(|found| found != MODEL_TYPE) {
        let Some(family) = Family::of_model_type(&found) else {
            return Err(unknown_value(path, "model_type", found, model_types()));
        };
        return describe_family(family, source, path, asked);
    }
    let raw: RawConfig = json::read_at_most(path, MAX_CONFIG_BYTES)?;
    if let Some(asked) = asked.filter(|asked| *asked != ERA) {
        let path = path.to_owned();
        return Err(CheckpointError::EraMismatch { path, asked, fits: vec![ERA] });
    }
    let config = raw.config(path)?;
    let description = Description {
        source,
        naming: WeightNaming::Transformers { tied: raw.tie_word_embeddings },
        config,
        kind: ModelKind::Nanochat(ERA),
        also_fits: Vec::new(),
        raw: serde_json::to_value(&raw).expect("numbers and strings make JSON"),
    };
    description.check()?;
    Ok(description)
}

fn describe_family(
    family: Family,
    source: TensorSource,
    path: &Path,
    asked: Option<Era>,
) -> Result<Description, CheckpointError> {
    if let Some(asked) = asked {
        return Err(CheckpointError::EraMismatch {
            path: path.to_owned(),
            asked,
            fits: Vec::new(),
        });
    }
    let raw: Map<String, Value> = json::read_at_most(path, MAX_CONFIG_BYTES)?;
    let (config, mut names) = family.describe(path, &raw)?;
    names.find_root(&source, config.tied);
    check_tied(&names, &source, config.shape, path)?;
    let description = Description {
        source,
        naming: WeightNaming::Family(names),
        config,
        kind: ModelKind::Family(family),
        also_fits: Vec::new(),
        raw: Value::Object(raw),
    };
    description.check()?;
    Ok(description)
}

/// Checks that an unembedding which the configuration ties to the embedding has its numbers.
/// transformers 4 leaves others out and transformers 5 takes them.
fn check_tied(
    names: &Names,
    source: &TensorSource,
    shape: GptShape,
    path: &Path,
) -> Result<(), CheckpointError> {
    let Some((embedding, unembedding)) = names.tied_pair(source) else {
        return Ok(());
    };
    let values = |name: &str| {
        let file = source.file_of(name)?;
        let in_file = file.info(name)?.dtype.weight().unwrap_or_default();
        file.read_as(name, &[shape.vocab_size, shape.n_embd], Order::AsStored, in_file)
    };
    if values(&embedding)?.iter::<f32>().eq(values(&unembedding)?.iter::<f32>()) {
        return Ok(());
    }
    Err(CheckpointError::Contradicted {
        path: path.to_owned(),
        key: "tie_word_embeddings",
        found: "true".to_owned(),
        expected: format!("`{unembedding}`, which is not `{embedding}`"),
    })
}

impl RawConfig {
    fn config(&self, path: &Path) -> Result<GptConfig, CheckpointError> {
        if let Some(key) = self.others.keys().find(|key| !HARMLESS_KEYS.contains(&key.as_str())) {
            return Err(CheckpointError::UnknownKey { path: path.to_owned(), key: key.clone() });
        }
        if self.hidden_act != default_hidden_act() {
            return Err(unknown_value(path, "hidden_act", self.hidden_act.clone(), "relu2"));
        }
        if self.attention_bias {
            return Err(unknown_value(path, "attention_bias", "true".to_owned(), "false"));
        }
        let shape = GptShape {
            sequence_len: self.max_position_embeddings,
            vocab_size: self.vocab_size,
            n_layer: self.num_hidden_layers,
            n_head: self.num_attention_heads,
            n_kv_head: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            n_embd: self.hidden_size,
        };
        let rope_base = self.rope_theta(path)?;
        let made = ERA.config(shape, None).and_then(|mut config| {
            config.mlp.d_mlp = self.intermediate_size;
            config.norm.epsilon = self.rms_norm_eps as f32;
            config.softcap = self.final_logit_softcapping.map(|softcap| softcap as f32);
            for rope in &mut config.ropes {
                // transformers rounds its tables to the type of its computation, which is float32
                // here.
                (rope.base, rope.tables) = (rope_base, RopeTables::F32);
            }
            config.validate()?;
            Ok(config)
        });
        let config = made.map_err(|source| CheckpointError::Config {
            path: path.to_owned(),
            source: with_keys(source, transformers_key),
        })?;
        match self.head_dim {
            Some(head_dim) if head_dim != config.attention.head_dim => {
                let known = "hidden_size / num_attention_heads";
                Err(unknown_value(path, "head_dim", head_dim.to_string(), known))
            }
            _ => Ok(config),
        }
    }

    /// Returns the rotary base of plain rotary embedding, the only supported kind.
    fn rope_theta(&self, path: &Path) -> Result<f64, CheckpointError> {
        let mut theta = self.rope_theta.unwrap_or(DEFAULT_ROPE_THETA);
        // As in transformers' `convert_rope_params_to_dict`, the old key takes precedence.
        let scaling = self.rope_scaling.as_ref().filter(|scaling| !scaling.is_empty());
        let Some(parameters) = scaling.or(self.rope_parameters.as_ref()) else {
            return Ok(theta);
        };
        let kind = parameters.get("rope_type").or(parameters.get("type"));
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return Err(unknown_value(path, "rope_type", text(kind), "default"));
        }
        for (key, value) in parameters {
            match (key.as_str(), value.as_f64()) {
                ("rope_type" | "type", _) => {}
                ("rope_theta", Some(value)) => theta = value,
                ("rope_theta", None) => {
                    return Err(unknown_value(path, "rope_theta", text(value), "a number"));
                }
                _ => {
                    let key = format!("rope_parameters.{key}");
                    return Err(CheckpointError::UnknownKey { path: path.to_owned(), key });
                }
            }
        }
        Ok(theta)
    }
}

/// Formats a value for a message: strings without quotes, other values as JSON, truncated.
fn text(value: &Value) -> String {
    let value = unmarked(value.clone());
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(80).collect()
}

fn unknown_value(
    path: &Path,
    key: &'static str,
    found: String,
    known: &'static str,
) -> CheckpointError {
    CheckpointError::UnknownValue { path: path.to_owned(), key, found, known }
}
