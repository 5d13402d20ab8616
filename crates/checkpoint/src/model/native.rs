//! Our own layout of a model: `config.json` and `model.safetensors`, float32 in the shapes that
//! inference needs, so that the file is mapped instead of read.

use std::borrow::Cow;
use std::path::Path;

use burn::tensor::Tensor;
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::{Constants, Era, Gpt, RopeTables};
use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::container::TensorSource;
use crate::error::CheckpointError;
use crate::model::description::Description;
use crate::model::nanochat::RawConfig;
use crate::model::weight_naming::WeightNaming;
use crate::read::json;
use crate::tokenizer::JSON_FILE;
use crate::write::OutputFolder;

pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
pub(crate) const CONFIG_FILE: &str = "config.json";

/// The value of `format` in `config.json`.
const FORMAT: &str = "nanoscope-model";
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    format: String,
    version: u32,
    era: String,
    #[serde(rename = "model_config")]
    model: RawConfig,
    /// The constants, unless they are the era's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    constants: Option<RawConstants>,
}

/// [`Constants`] as stored in files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConstants {
    d_mlp: usize,
    norm_epsilon: f32,
    softcap: Option<f32>,
    rope_base: f64,
    rope_tables: RawRopeTables,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawRopeTables {
    Bf16,
    F32,
}

impl From<Constants> for RawConstants {
    fn from(constants: Constants) -> Self {
        let Constants { d_mlp, norm_epsilon, softcap, rope_base, rope_tables } = constants;
        let rope_tables = match rope_tables {
            RopeTables::Bf16 => RawRopeTables::Bf16,
            RopeTables::F32 => RawRopeTables::F32,
        };
        Self { d_mlp, norm_epsilon, softcap, rope_base, rope_tables }
    }
}

impl From<RawConstants> for Constants {
    fn from(raw: RawConstants) -> Self {
        let RawConstants { d_mlp, norm_epsilon, softcap, rope_base, rope_tables } = raw;
        let rope_tables = match rope_tables {
            RawRopeTables::Bf16 => RopeTables::Bf16,
            RawRopeTables::F32 => RopeTables::F32,
        };
        Self { d_mlp, norm_epsilon, softcap, rope_base, rope_tables }
    }
}

/// Returns whether a weights file has our layout or transformers', by its name.
pub(crate) fn is_native(weights: &Path) -> bool {
    weights.file_name().is_some_and(|name| name == WEIGHTS_FILE)
}

/// Returns whether `dir` has the configuration that [`save_model`] writes.
pub fn is_saved_model(dir: &Path) -> bool {
    json::read::<Value>(&dir.join(CONFIG_FILE)).is_ok_and(|config| config["format"] == FORMAT)
}

/// Describes the model with the weights `source` and the configuration at `path`.
pub(crate) fn describe(
    source: TensorSource,
    path: &Path,
    asked: Option<Era>,
) -> Result<Description, CheckpointError> {
    let config: Config = json::read(path)?;
    if config.format != FORMAT || config.version != VERSION {
        return Err(CheckpointError::ForeignConfig {
            path: path.to_owned(),
            found: format!("format `{}` version {}", config.format, config.version),
        });
    }
    let invalid = |source| CheckpointError::Config { path: path.to_owned(), source };
    let era: Era = config.era.parse().map_err(invalid)?;
    if let Some(asked) = asked.filter(|asked| *asked != era) {
        let path = path.to_owned();
        return Err(CheckpointError::EraMismatch { path, asked, fits: vec![era] });
    }
    let raw = serde_json::to_value(&config.model).expect("numbers and strings make JSON");
    let made = config.model.config(era).and_then(|made| match config.constants {
        Some(constants) => made.with_constants(constants.into()),
        None => Ok(made),
    });
    let description = Description {
        source,
        naming: WeightNaming::Native,
        config: made.map_err(invalid)?,
        era,
        also_fits: Vec::new(),
        raw,
    };
    description.check()?;
    Ok(description)
}

/// Saves `gpt` to `config.json` and `model.safetensors` in `dir`, which is created if needed. The files
/// appear when both are complete.
///
/// `era` must be the era that the model's configuration was created with.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_model(dir: &Path, gpt: &Gpt, era: Era) -> Result<(), CheckpointError> {
    save_model_with_tokenizer(dir, gpt, era, None)
}

/// As [`save_model`], together with a `tokenizer.json`.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_model_with_tokenizer(
    dir: &Path,
    gpt: &Gpt,
    era: Era,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), CheckpointError> {
    let folder = OutputFolder::create(dir)?;
    let views = gpt
        .weights()
        .into_iter()
        .map(|(spec, weight)| (spec.name, Weight { shape: spec.shape, weight }));
    folder.save_tensors(WEIGHTS_FILE, views)?;

    let shape = gpt.config().shape;
    let model = RawConfig {
        sequence_len: shape.sequence_len,
        vocab_size: shape.vocab_size,
        n_layer: shape.n_layer,
        n_head: shape.n_head,
        n_kv_head: Some(shape.n_kv_head),
        n_embd: shape.n_embd,
        window_pattern: window_pattern(gpt),
    };
    let constants = gpt.config().constants;
    let is_from_era = model.config(era).is_ok_and(|config| config.constants == constants);
    let config = Config {
        format: FORMAT.to_owned(),
        version: VERSION,
        era: era.to_string(),
        model,
        constants: (!is_from_era).then(|| constants.into()),
    };
    let config = serde_json::to_vec_pretty(&config).expect("numbers and strings make JSON");
    folder.write(CONFIG_FILE, &config)?;
    if let Some(tokenizer) = tokenizer {
        folder.write(JSON_FILE, tokenizer.to_json().as_bytes())?;
    }
    folder.finish()
}

/// Returns the pattern that produces the model's windows.
fn window_pattern(gpt: &Gpt) -> Option<String> {
    let config = gpt.config();
    let letter = |window: &Option<usize>| match window {
        Some(window) if *window != config.shape.sequence_len => 'S',
        _ => 'L',
    };
    let windowed = config.windows.iter().any(Option::is_some);
    windowed.then(|| config.windows.iter().map(letter).collect())
}

/// A weight whose numbers are fetched when it is written.
struct Weight {
    shape: Vec<usize>,
    weight: Tensor<1>,
}

impl View for Weight {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values: Vec<f32> = self.weight.to_data().iter::<f32>().collect();
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}
