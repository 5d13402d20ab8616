//! Our own layout of a model: `config.json` and `model.safetensors`, with matrices in the type and order that
//! CPUs compute with, so that the file is mapped instead of read.

use std::borrow::Cow;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use nanoscope_kernels::Order;
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::{
    ConfigError, Era, Gpt, GptConfig, Layout, ParamSpec, RopeTables, Weight,
};
use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::container::TensorSource;
use crate::error::CheckpointError;
use crate::model::description::Description;
use crate::model::families::{Family, model_types};
use crate::model::kind::ModelKind;
use crate::model::nanochat::RawConfig;
use crate::model::weight_naming::WeightNaming;
use crate::read::json;
use crate::tokenizer::{TOKENIZER_FILES, tokenizer_files};
use crate::write::OutputFolder;

pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
pub(crate) const CONFIG_FILE: &str = "config.json";

/// The value of `format` in `config.json`.
const FORMAT: &str = "nanoscope-model";
/// The version that is written: linear layers are in PyTorch's order, `[d_out, d_in]`.
const VERSION: u32 = 3;
/// The former version of nanochat's models: float32, linear layers `[d_in, d_out]`.
const FORMER_NANOCHAT_VERSION: u32 = 1;
/// The former version of other families' models, laid out as version 1.
const FORMER_FAMILY_VERSION: u32 = 2;

/// `config.json` of a model of nanochat, which is described by its era.
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
    constants: Option<Constants>,
}

/// `config.json` of a model of another family, which is described part by part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyConfig {
    format: String,
    version: u32,
    /// The `model_type` of transformers.
    family: String,
    description: GptConfig,
}

/// The keys that identify the layout.
#[derive(Deserialize)]
struct Tag {
    format: String,
    version: u32,
    #[serde(default)]
    family: Option<Value>,
}

/// Constants of nanochat's code that other programs have in their configurations.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constants {
    d_mlp: usize,
    norm_epsilon: f32,
    softcap: Option<f32>,
    rope_base: f64,
    rope_tables: RopeTables,
}

impl Constants {
    /// The constants of a nanochat model.
    fn new(config: &GptConfig) -> Self {
        let rope = config.ropes[0];
        Self {
            d_mlp: config.mlp.d_mlp,
            norm_epsilon: config.norm.epsilon,
            softcap: config.softcap,
            rope_base: rope.base,
            rope_tables: rope.tables,
        }
    }

    fn apply(&self, config: &mut GptConfig) -> Result<(), ConfigError> {
        let Self { d_mlp, norm_epsilon, softcap, rope_base, rope_tables } = *self;
        config.mlp.d_mlp = d_mlp;
        config.norm.epsilon = norm_epsilon;
        config.softcap = softcap;
        for rope in &mut config.ropes {
            (rope.base, rope.tables) = (rope_base, rope_tables);
        }
        config.validate()
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
    let Tag { format, version, family } = json::read(path)?;
    let invalid = |source| CheckpointError::Config { path: path.to_owned(), source };
    let (config, kind, raw) = match (format.as_str(), version, family.is_some()) {
        (FORMAT, VERSION, false) | (FORMAT, FORMER_NANOCHAT_VERSION, _) => {
            let config: Config = json::read(path)?;
            let era: Era = config.era.parse().map_err(invalid)?;
            let raw = serde_json::to_value(&config.model).expect("numbers and strings make JSON");
            let mut made = config.model.config(era).map_err(invalid)?;
            if let Some(constants) = config.constants {
                constants.apply(&mut made).map_err(invalid)?;
            }
            (made, ModelKind::Nanochat(era), raw)
        }
        (FORMAT, VERSION, true) | (FORMAT, FORMER_FAMILY_VERSION, _) => {
            let config: FamilyConfig = json::read(path)?;
            let family = Family::of_model_type(&config.family).ok_or_else(|| {
                let (path, found) = (path.to_owned(), config.family.clone());
                CheckpointError::UnknownValue { path, key: "family", found, known: model_types() }
            })?;
            config.description.validate().map_err(invalid)?;
            let raw = serde_json::to_value(&config.description);
            let raw = raw.expect("numbers and strings make JSON");
            (config.description, ModelKind::Family(family), raw)
        }
        _ => {
            return Err(CheckpointError::ForeignConfig {
                path: path.to_owned(),
                found: format!("format `{format}` version {version}"),
            });
        }
    };
    if let Some(asked) = asked.filter(|&asked| ModelKind::Nanochat(asked) != kind) {
        let fits = kind.era().into_iter().collect();
        return Err(CheckpointError::EraMismatch { path: path.to_owned(), asked, fits });
    }
    let naming = WeightNaming::Native { by_output: version == VERSION };
    let description = Description { source, naming, config, kind, also_fits: Vec::new(), raw };
    description.check()?;
    Ok(description)
}

/// Saves `gpt` to `config.json` and `model.safetensors` in `dir`, which is created if needed, with matrices in
/// the types of `gpt`; those of 8 bits are written in float32. The files appear when both are complete.
///
/// `kind` must be the one that the model's configuration was created for.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_model(dir: &Path, gpt: &Gpt, kind: ModelKind) -> Result<(), CheckpointError> {
    save_model_with_tokenizer(dir, gpt, kind, None)
}

/// As [`save_model`], together with the files that [`save_tokenizer`](crate::save_tokenizer) writes.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_model_with_tokenizer(
    dir: &Path,
    gpt: &Gpt,
    kind: ModelKind,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), CheckpointError> {
    let mut folder = OutputFolder::create(dir)?;
    // Those of a model that was saved here before would be taken for this one's.
    for name in TOKENIZER_FILES {
        folder.without(name);
    }
    let views = gpt.weights().into_iter();
    let views = views.map(|(spec, weight)| (spec.name.clone(), SavedWeight::new(&spec, weight)));
    folder.save_tensors(WEIGHTS_FILE, views)?;

    let config = match kind {
        ModelKind::Nanochat(era) => serde_json::to_vec_pretty(&nanochat_config(gpt, era)),
        ModelKind::Family(family) => serde_json::to_vec_pretty(&FamilyConfig {
            format: FORMAT.to_owned(),
            version: VERSION,
            family: family.model_type().to_owned(),
            description: gpt.config().clone(),
        }),
    };
    let config = config.expect("numbers and strings make JSON");
    folder.write(CONFIG_FILE, &config)?;
    if let Some(tokenizer) = tokenizer {
        for (name, text) in tokenizer_files(tokenizer) {
            folder.write(name, text.as_bytes())?;
        }
    }
    folder.finish()
}

fn nanochat_config(gpt: &Gpt, era: Era) -> Config {
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
    let constants = Constants::new(gpt.config());
    let is_from_era = model.config(era).is_ok_and(|config| Constants::new(&config) == constants);
    Config {
        format: FORMAT.to_owned(),
        version: VERSION,
        era: era.to_string(),
        model,
        constants: (!is_from_era).then_some(constants),
    }
}

/// Returns the pattern that produces the model's windows.
fn window_pattern(gpt: &Gpt) -> Option<String> {
    let config = gpt.config();
    let letter = |window: Option<usize>| match window {
        Some(window) if window != config.shape.sequence_len => 'S',
        _ => 'L',
    };
    let windows = || config.layers.iter().map(|layer| layer.window);
    windows().any(|window| window.is_some()).then(|| windows().map(letter).collect())
}

/// A weight in the shape of our files, whose numbers are fetched when it is written.
struct SavedWeight {
    weight: Weight,
    shape: Vec<usize>,
    order: Order,
}

impl SavedWeight {
    fn new(spec: &ParamSpec, weight: Weight) -> Self {
        let order = match spec.layout {
            Layout::Same => Order::ByInput,
            Layout::Transposed => Order::ByOutput,
        };
        Self { weight, shape: spec.file_shape(), order }
    }

    fn numbers(&self) -> TensorData {
        match &self.weight {
            Weight::Matrix(matrix) => matrix.to_data(self.order),
            Weight::Vector(numbers) => numbers.to_data(),
        }
    }
}

impl View for SavedWeight {
    fn dtype(&self) -> Dtype {
        match &self.weight {
            Weight::Matrix(matrix) if matrix.dtype() == DType::BF16 => Dtype::BF16,
            Weight::Matrix(matrix) if matrix.dtype() == DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.numbers().as_bytes().to_vec())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype().bitsize() / 8
    }
}
