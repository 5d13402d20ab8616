//! Describes files without loading them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nanoscope_transformer::{Era, GptConfig};
use serde::Serialize;
use serde_json::Value;

use crate::container::{Dtype, MatrixDtype, TensorFile, TensorSource, WeightDtype, is_index};
use crate::error::CheckpointError;
use crate::files;
use crate::hub;
use crate::model::{ModelFiles, ModelKind, WeightNaming};
use crate::python_json::unmarked;
use crate::sae::{Metadata, SaeFormatName, find_saes, guesses, is_sae, open_sae_in, unwrapped};

/// The description of a file whose weights are not loaded.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The path of the file.
    pub path: PathBuf,
    /// The kind of file, for people.
    pub what: String,
    /// The container format of the tensors.
    pub format: &'static str,
    /// The configuration exactly as stored in the file.
    pub config: Option<Value>,
    /// Facts derived from it, for people: a name and a value.
    pub facts: Vec<(&'static str, String)>,
    /// Further entries of an SAE's checkpoint.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// All tensors, in alphabetical order.
    pub tensors: Vec<TensorLine>,
    /// The size of the weights in memory, in bytes: of a model as it is loaded on a CPU by default, of
    /// anything else as float32.
    pub memory_bytes: u64,
    /// The size of a model's weights in memory by the type of its matrices, in bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub memory_by_dtype: BTreeMap<String, u64>,
}

/// A tensor in a file.
#[derive(Debug, Clone, Serialize)]
pub struct TensorLine {
    /// The name.
    pub name: String,
    /// The shape in the file.
    pub shape: Vec<usize>,
    /// The element type in the file.
    pub dtype: String,
}

/// Describes the files at `path`: a model, one or more SAEs, or a file of tensors. `era` selects the era
/// of a model whose weights fit several.
///
/// # Errors
/// [`CheckpointError`] if there is nothing of a known kind, or a file is damaged.
pub fn inspect(path: &Path, era: Option<Era>) -> Result<Vec<Inspection>, CheckpointError> {
    inspect_with(path, &InspectOptions { era, ..InspectOptions::default() })
}

/// Options for [`inspect_with`].
#[derive(Debug, Clone, Copy, Default)]
pub struct InspectOptions {
    /// The era of a model whose weights fit several.
    pub era: Option<Era>,
    /// The format of each file that can be an SAE of it, although nothing identifies it.
    pub format: Option<SaeFormatName>,
}

/// As [`inspect`], with `options`.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with(
    path: &Path,
    options: &InspectOptions,
) -> Result<Vec<Inspection>, CheckpointError> {
    let InspectOptions { era, format } = *options;
    let path = &hub::resolve(path)?;
    if files::is_dir(path) {
        return match ModelFiles::find(path) {
            Ok(files) => Ok(vec![model(&files, era)?]),
            Err(CheckpointError::NoModel { .. }) => {
                let saes = find_saes(path, format)?;
                if saes.is_empty() {
                    return Err(CheckpointError::NothingKnown { path: path.to_owned() });
                }
                saes.iter().map(|path| sae(TensorFile::open(path)?, format)).collect()
            }
            Err(error) => Err(error),
        };
    }
    if is_index(path) {
        return Ok(vec![model(&ModelFiles::find(path)?, era)?]);
    }
    let (file, _) = unwrapped(TensorFile::open(path)?);
    if is_sae(&file, format) {
        return Ok(vec![sae(TensorFile::open(path)?, format)?]);
    }
    let guesses = guesses(&file).into_iter();
    let facts = guesses.map(|name| ("could be an SAE", format!("{name}, if that is its format")));
    let facts = facts.collect();
    let file = TensorFile::open(path)?;
    let files = ModelFiles::find(path)?;
    let describes_itself = file.value("model").is_some() && file.value("config").is_some();
    if files.config.is_some() || describes_itself {
        return Ok(vec![model(&files, era)?]);
    }
    let memory_bytes = float_bytes(&file);
    Ok(vec![Inspection {
        what: "tensors".to_owned(),
        config: None,
        facts,
        ..without_facts(&file.into(), memory_bytes)
    }])
}

fn model(files: &ModelFiles, era: Option<Era>) -> Result<Inspection, CheckpointError> {
    let description = files.describe(era)?;
    let config = &description.config;
    let kind = description.kind;
    let mut facts = Vec::new();
    facts.extend(kind.era().map(|era| ("era", era.to_string())));
    facts.push(("parameters", description.parameters().to_string()));
    if !description.also_fits.is_empty() {
        let eras: Vec<_> = description.also_fits.iter().map(ToString::to_string).collect();
        facts.push(("also fits era", eras.join(", ")));
    }
    facts.push((
        "vocabulary",
        format!("{} ({} rows)", config.shape.vocab_size, config.padded_vocab_size),
    ));
    let windows = config.layers.iter().map(|layer| layer.window);
    let windows = windows.map(|w| w.map_or("all".to_owned(), |w| w.to_string()));
    facts.push(("attention windows", windows.collect::<Vec<_>>().join(", ")));
    if let Some(Ok(of_era)) = kind.era().map(|era| era.config(config.shape, None)) {
        let differences = differences(config, &of_era);
        if !differences.is_empty() {
            facts.push(("differs from the era", differences));
        }
    }
    let tokenizer = files.tokenizer.as_ref();
    facts.push(("tokenizer", tokenizer.map_or("none".to_owned(), |p| p.display().to_string())));
    let layout = match description.naming {
        WeightNaming::Transformers { .. } => " in transformers' layout",
        WeightNaming::Nanochat { .. } | WeightNaming::Native { .. } | WeightNaming::Family(_) => "",
    };
    let what = match kind {
        ModelKind::Nanochat(era) => format!("nanochat model{layout}, era {era}"),
        ModelKind::Family(family) => format!("{family} model"),
    };
    let memory_by_dtype = [WeightDtype::F32, WeightDtype::BF16, WeightDtype::F16]
        .map(MatrixDtype::from)
        .into_iter()
        .chain([MatrixDtype::Int8])
        .map(|dtype| (dtype.to_string(), description.bytes(Some(dtype))))
        .collect();
    let inspection = without_facts(&description.source, description.bytes(None));
    let config = Some(unmarked(description.raw));
    Ok(Inspection { what, config, facts, memory_by_dtype, ..inspection })
}

/// Lists the constants of a nanochat model that differ from its era's.
fn differences(found: &GptConfig, eras: &GptConfig) -> String {
    let softcap = |c: &GptConfig| c.softcap.map_or("none".to_owned(), |cap| cap.to_string());
    let tables = |c: &GptConfig| format!("{:?}", c.ropes[0].tables).to_lowercase();
    [
        ("MLP width", found.mlp.d_mlp.to_string(), eras.mlp.d_mlp.to_string()),
        ("norm epsilon", found.norm.epsilon.to_string(), eras.norm.epsilon.to_string()),
        ("softcap", softcap(found), softcap(eras)),
        ("rotary base", found.ropes[0].base.to_string(), eras.ropes[0].base.to_string()),
        ("rotary tables", tables(found), tables(eras)),
    ]
    .into_iter()
    .filter(|(_, found, eras)| found != eras)
    .map(|(name, found, _)| format!("{name} {found}"))
    .collect::<Vec<_>>()
    .join(", ")
}

fn sae(file: TensorFile, format: Option<SaeFormatName>) -> Result<Inspection, CheckpointError> {
    let sae = open_sae_in(file, format)?;
    let memory_bytes = sae.numbers() * Dtype::F32.size() as u64;
    Ok(Inspection {
        what: format!("{} sparse autoencoder", sae.format),
        config: sae.description.clone().map(unmarked),
        facts: sae.facts()?,
        metadata: sae.metadata,
        ..without_facts(&sae.file.into(), memory_bytes)
    })
}

/// Returns the size of the file's tensors as float32, in bytes.
fn float_bytes(file: &TensorFile) -> u64 {
    let numbers = file.tensors().map(|(_, info)| info.len() as u64).sum::<u64>();
    numbers * Dtype::F32.size() as u64
}

/// Describes the tensors in a file.
fn without_facts(source: &TensorSource, memory_bytes: u64) -> Inspection {
    let line = |(name, info): (&str, &crate::container::TensorInfo)| TensorLine {
        name: name.to_owned(),
        shape: info.shape.clone(),
        dtype: info.dtype.to_string(),
    };
    Inspection {
        path: source.path().to_owned(),
        what: String::new(),
        format: source.format(),
        config: None,
        facts: Vec::new(),
        metadata: Metadata::new(),
        tensors: source.tensors().map(line).collect(),
        memory_bytes,
        memory_by_dtype: BTreeMap::new(),
    }
}
