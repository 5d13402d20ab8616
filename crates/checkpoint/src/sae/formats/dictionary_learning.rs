//! dictionary_learning's folders: `trainer_0/ae.pt` and `trainer_0/config.json`.

use std::path::{Path, PathBuf};

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::container::TensorFile;
use crate::error::{CheckpointError, SaeFileError};
use crate::files;
use crate::python_json;
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat, file_name};
use crate::sae::formats::whole_number::Number;
use crate::sae::metadata::Metadata;
use crate::sae::sae_file::{Postprocess, SaeFile};
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight, linear_weights, usual_weights};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "dictionary_learning",
    layout: Some(Layout {
        names: WEIGHTS_FILE,
        files: |folder| {
            let files = folder.files(WEIGHTS_FILE);
            if !files.is_empty() {
                return files;
            }
            folder.latest(step).into_iter().map(Path::to_owned).collect()
        },
        weights_dir: Some(CHECKPOINTS_DIR),
        copies_dir: None,
    }),
    claims,
    open,
};

const WEIGHTS_FILE: &str = "ae.pt";
const CHECKPOINTS_DIR: &str = "checkpoints";
const CONFIG_FILE: &str = "config.json";
const GATED: &str = "GatedAutoEncoder";

/// The keys of `config.json` that determine what is computed, and where. The reference's
/// `load_dictionary` reads no others either; the rest are options of training.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the keys of dictionary_learning's config.json")]
struct RawConfig {
    trainer: Trainer,
    #[serde(default)]
    buffer: Buffer,
}

#[derive(Debug, Deserialize)]
struct Trainer {
    dict_class: String,
    k: Option<Number>,
    layer: Option<usize>,
    submodule_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Buffer {
    io: Option<String>,
}

/// Parses the step in a checkpoint's name, `ae_5000.pt`.
fn step(name: &str) -> Option<u64> {
    name.strip_prefix("ae_")?.strip_suffix(".pt")?.parse().ok()
}

/// Returns whether the tool gives its files a name like that at `path`.
fn is_named(path: &Path) -> bool {
    file_name(path).is_some_and(|name| name == WEIGHTS_FILE || step(name).is_some())
}

/// Returns the path of the configuration: in the folder of the file at `path` or, for a checkpoint,
/// in the folder above.
fn config_path(path: &Path) -> Option<PathBuf> {
    if !is_named(path) {
        return None;
    }
    let dir = path.parent()?;
    let above = dir.file_name().filter(|name| *name == CHECKPOINTS_DIR).and(dir.parent());
    let found = [Some(dir), above].into_iter().flatten().map(|dir| dir.join(CONFIG_FILE));
    found.into_iter().find(|path| files::is_file(path))
}

/// Infers the class of an SAE without a configuration from its tensors.
fn class_of(file: &TensorFile) -> Option<&'static str> {
    let has = |names: &[&str]| names.iter().all(|name| file.info(name).is_ok());
    if has(&["bias", "encoder.weight", "encoder.bias", "decoder.weight"]) {
        Some("AutoEncoder")
    } else if has(&["decoder_bias", "encoder.weight", "r_mag", "gate_bias", "mag_bias"]) {
        Some(GATED)
    } else {
        None
    }
}

/// Claims files with their configuration. Without one, the tensors of a gated SAE are names of this tool
/// only, and those of an `AutoEncoder` need the tool's file name.
fn claims(file: &TensorFile) -> Claim {
    if !file.is_pt() {
        return Claim::None;
    }
    let is_ours = |config: &Path| match json::read::<Value>(config) {
        Ok(config) => config.get("trainer").is_some(),
        // The error is shown when the file is opened.
        Err(_) => true,
    };
    if config_path(file.path()).is_some_and(|config| is_ours(&config)) {
        return Claim::Evidence;
    }
    match class_of(file) {
        Some(GATED) => Claim::Evidence,
        Some(_) if is_named(file.path()) => Claim::Evidence,
        Some(_) if file.tensors().count() == 4 => Claim::Guess,
        _ => Claim::None,
    }
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let Some(path) = config_path(file.path()) else {
        let class = class_of(&file).expect("only claimed files are opened");
        let kind = kind(&file, class, None, file.path())?;
        // Without normalising the decoder: `load_dictionary`, which does that, needs a configuration.
        return sae_file(file, Kind { postprocess: Postprocess::None, ..kind });
    };
    let description: Value = json::read(&path)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    let hooks = raw.hooks(&path)?;
    let kind = kind(&file, &raw.trainer.dict_class, raw.trainer.k, &path)?;
    let file = sae_file(file, kind)?;
    let metadata = provenance(&description);
    Ok(SaeFile { hooks, metadata, description: Some(description), ..file })
}

/// Returns what the configuration says about the origin of the SAE, under SAELens's names.
fn provenance(description: &Value) -> Metadata {
    let trainer = &description["trainer"];
    let entries = [
        ("model_name", &trainer["lm_name"]),
        ("context_size", &description["buffer"]["ctx_len"]),
        ("training_architecture", &trainer["trainer_class"]),
        ("training_architecture_details", trainer),
    ];
    entries
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.to_owned(), python_json::finite(value.clone())))
        .collect()
}

fn sae_file(file: TensorFile, kind: Kind) -> Result<SaeFile, CheckpointError> {
    let [a, b] = file.matrix_shape(kind.encoder)?;
    let (d_in, d_sae) = if kind.encoder == "W_enc" { (a, b) } else { (b, a) };
    let config = SaeConfig::new(d_in, d_sae, kind.architecture)
        .and_then(|config| config.with_apply_b_dec_to_input(kind.apply_b_dec))
        .map_err(|source| SaeFileError::Sae { path: file.path().to_owned(), source })?;
    SaeFile {
        weights: kind.weights,
        postprocess: kind.postprocess,
        ignored: kind.ignored,
        ..SaeFile::new(file, FORMAT.name, config)
    }
    .checked()
}

/// The properties of a class.
struct Kind {
    architecture: Architecture,
    /// The name of the encoder's matrix.
    encoder: &'static str,
    weights: Vec<(Weight, StoredWeight)>,
    apply_b_dec: bool,
    postprocess: Postprocess,
    ignored: &'static [&'static str],
}

/// Returns the properties of the class `dict_class`; `config_k` is k in the configuration at `path`.
fn kind(
    file: &TensorFile,
    dict_class: &str,
    config_k: Option<Number>,
    path: &Path,
) -> Result<Kind, CheckpointError> {
    let linear = |architecture, b_dec: &str| {
        let mut weights = linear_weights("encoder", "decoder");
        weights.retain(|(weight, _)| *weight != Weight::BDec);
        weights.push((Weight::BDec, StoredWeight::tensor(b_dec)));
        let (apply_b_dec, postprocess) = (true, Postprocess::None);
        let encoder = "encoder.weight";
        Kind { architecture, encoder, weights, apply_b_dec, postprocess, ignored: &[] }
    };
    let matrices = |apply_b_dec, threshold| {
        let mut weights = usual_weights();
        weights.push((Weight::Threshold, threshold));
        let (architecture, postprocess) = (Architecture::JumpRelu, Postprocess::None);
        Kind { architecture, encoder: "W_enc", weights, apply_b_dec, postprocess, ignored: &[] }
    };
    // One for all features. A threshold of -1, where training set none, keeps all positive values.
    let one_threshold = || StoredWeight::Scalar { name: "threshold".to_owned(), times: 1.0 };
    Ok(match dict_class {
        "AutoEncoder" => {
            Kind { postprocess: Postprocess::FoldDecoderNorm, ..linear(Architecture::Relu, "bias") }
        }
        "AutoEncoderNew" => {
            Kind { apply_b_dec: false, ..linear(Architecture::Relu, "decoder.bias") }
        }
        GATED => {
            let mut kind = linear(Architecture::Gated, "decoder_bias");
            kind.weights.retain(|(weight, _)| *weight != Weight::BEnc);
            kind.weights.extend([
                (Weight::BEnc, StoredWeight::tensor("gate_bias")),
                (Weight::RMag, StoredWeight::tensor("r_mag")),
                (Weight::BMag, StoredWeight::tensor("mag_bias")),
            ]);
            kind
        }
        "JumpReluAutoEncoder" => matrices(false, StoredWeight::tensor("threshold")),
        "AutoEncoderTopK" => {
            let k = k(file, config_k, path)?;
            let architecture = Architecture::TopK { k, rescale_acts_by_decoder_norm: false };
            // Its `encode` keeps the k largest, whatever the trained threshold is.
            Kind { ignored: &["k", "threshold"], ..linear(architecture, "b_dec") }
        }
        "BatchTopKSAE" => {
            let mut kind = linear(Architecture::JumpRelu, "b_dec");
            kind.weights.push((Weight::Threshold, one_threshold()));
            Kind { ignored: &["k"], ..kind }
        }
        "MatryoshkaBatchTopKSAE" => {
            Kind { ignored: &["k", "group_sizes"], ..matrices(true, one_threshold()) }
        }
        other => {
            return Err(CheckpointError::UnknownValue {
                path: path.to_owned(),
                key: "trainer.dict_class",
                found: other.to_owned(),
                known: "AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder, \
                        AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE",
            });
        }
    })
}

/// Reads k, which must be the same in both files, as in `load_dictionary`. Until December 2024 only
/// the configuration had it.
fn k(file: &TensorFile, config_k: Option<Number>, path: &Path) -> Result<usize, CheckpointError> {
    let config_k = config_k.map(|k| k.whole(path, "trainer.k")).transpose()?;
    let stored = match file.read_scalar("k") {
        Ok(k) => Some(k as usize),
        Err(CheckpointError::MissingTensor { .. }) if config_k.is_some() => None,
        Err(error) => return Err(error),
    };
    match (stored, config_k) {
        (Some(stored), Some(config_k)) if stored != config_k => {
            Err(CheckpointError::Contradicted {
                path: path.to_owned(),
                key: "trainer.k",
                found: config_k.to_string(),
                expected: stored.to_string(),
            })
        }
        (Some(k), _) | (None, Some(k)) => Ok(k),
        (None, None) => unreachable!("a missing tensor was an error"),
    }
}

impl RawConfig {
    /// Returns the hooks of a submodule whose name identifies it as the residual stream. Other names
    /// are free text, which is kept for the person who chooses the SAE's hook point.
    fn hooks(&self, path: &Path) -> Result<SaeHooks, CheckpointError> {
        let Trainer { layer, submodule_name, .. } = &self.trainer;
        let io = self.buffer.io.as_deref().unwrap_or("out");
        match io {
            "out" | "in" => {}
            "in_and_out" => {
                let what = "a dictionary from a module's input to its output (io `in_and_out`)";
                return Err(CheckpointError::Unsupported {
                    path: path.to_owned(),
                    what: what.to_owned(),
                });
            }
            other => {
                return Err(CheckpointError::UnknownValue {
                    path: path.to_owned(),
                    key: "buffer.io",
                    found: other.to_owned(),
                    known: "in, out, in_and_out",
                });
            }
        }
        let Some(name) = submodule_name else { return Ok(SaeHooks::default()) };
        Ok(match layer {
            _ if io == "in" => SaeHooks::at(format!("input of {name}")),
            Some(layer) if name.contains("resid_pre") => {
                SaeHooks::at(format!("blocks.{layer}.hook_resid_pre"))
            }
            Some(layer) if name.contains("resid") => {
                SaeHooks::at(format!("blocks.{layer}.hook_resid_post"))
            }
            _ => SaeHooks::at(name.clone()),
        })
    }
}
