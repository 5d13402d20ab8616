//! dictionary_learning's folders: `trainer_0/ae.pt` and `trainer_0/config.json`.

use std::path::{Path, PathBuf};

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::read::json;
use crate::sae::sae_file::{Finish, Place, SaeFile, Source, Weight, linear_sources, usual_sources};

pub(crate) const WEIGHTS_FILE: &str = "ae.pt";
pub(crate) const CHECKPOINTS_DIR: &str = "checkpoints";
const CONFIG_FILE: &str = "config.json";

/// What of `config.json` says what is computed and where. `load_dictionary` reads nothing else of
/// it either; the rest is what training was given.
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
    k: Option<usize>,
    layer: Option<usize>,
    submodule_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Buffer {
    io: Option<String>,
}

/// The step of a checkpoint's name, `ae_5000.pt`.
pub(crate) fn step(name: &str) -> Option<u64> {
    name.strip_prefix("ae_")?.strip_suffix(".pt")?.parse().ok()
}

/// The configuration of the SAE in the file at `path`, in its folder or, of a checkpoint, above.
fn config_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    if name != WEIGHTS_FILE && step(name).is_none() {
        return None;
    }
    let dir = path.parent()?;
    let above = dir.file_name().filter(|name| *name == CHECKPOINTS_DIR).and(dir.parent());
    let found = [Some(dir), above].into_iter().flatten().map(|dir| dir.join(CONFIG_FILE));
    found.into_iter().find(|path| path.is_file())
}

/// The class that a file without a configuration can only be of.
fn class_of(file: &TensorFile) -> Option<&'static str> {
    let has = |names: &[&str]| names.iter().all(|name| file.info(name).is_ok());
    if has(&["bias", "encoder.weight", "encoder.bias", "decoder.weight"]) {
        Some("AutoEncoder")
    } else if has(&["decoder_bias", "encoder.weight", "r_mag", "gate_bias", "mag_bias"]) {
        Some("GatedAutoEncoder")
    } else {
        None
    }
}

/// Whether `file` is of this format, going by its name and what lies beside it, or by its tensors.
pub(crate) fn claims(file: &TensorFile) -> bool {
    file.is_pt() && (config_path(file.path()).is_some() || class_of(file).is_some())
}

pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let Some(path) = config_path(file.path()) else {
        let class = class_of(&file).expect("what is opened was claimed");
        let kind = kind(&file, class, None, file.path())?;
        // As it is: who has no configuration does not have it loaded by `load_dictionary`.
        return sae_file(file, Kind { finish: Finish::AsRead, ..kind });
    };
    let description: Value = json::read(&path)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    let place = raw.place(&path)?;
    let kind = kind(&file, &raw.trainer.dict_class, raw.trainer.k, &path)?;
    let file = sae_file(file, kind)?;
    Ok(SaeFile { place, description: Some(description), ..file })
}

fn sae_file(file: TensorFile, kind: Kind) -> Result<SaeFile, CheckpointError> {
    let [a, b] = file.matrix_shape(kind.encoder)?;
    let (d_in, d_sae) = if kind.encoder == "W_enc" { (a, b) } else { (b, a) };
    let config = SaeConfig::new(d_in, d_sae, kind.architecture)
        .and_then(|config| config.with_apply_b_dec_to_input(kind.apply_b_dec))
        .map_err(|source| CheckpointError::Sae { path: file.path().to_owned(), source })?;
    SaeFile {
        sources: kind.sources,
        finish: kind.finish,
        ignored: kind.ignored,
        ..SaeFile::of(file, "dictionary_learning", config)
    }
    .checked()
}

/// What a class comes to.
struct Kind {
    architecture: Architecture,
    /// The encoder's matrix.
    encoder: &'static str,
    sources: Vec<(Weight, Source)>,
    apply_b_dec: bool,
    finish: Finish,
    ignored: &'static [&'static str],
}

/// The class `dict_class`; `config_k` is what the configuration at `path` says of k.
fn kind(
    file: &TensorFile,
    dict_class: &str,
    config_k: Option<usize>,
    path: &Path,
) -> Result<Kind, CheckpointError> {
    let linear = |architecture, b_dec: &str| {
        let mut sources = linear_sources("encoder", "decoder");
        sources.retain(|(weight, _)| *weight != Weight::BDec);
        sources.push((Weight::BDec, Source::tensor(b_dec)));
        let (apply_b_dec, finish) = (true, Finish::AsRead);
        let encoder = "encoder.weight";
        Kind { architecture, encoder, sources, apply_b_dec, finish, ignored: &[] }
    };
    let matrices = |apply_b_dec, threshold| {
        let mut sources = usual_sources();
        sources.push((Weight::Threshold, threshold));
        let (architecture, finish) = (Architecture::JumpRelu, Finish::AsRead);
        Kind { architecture, encoder: "W_enc", sources, apply_b_dec, finish, ignored: &[] }
    };
    // One for all features; -1, where training set none, keeps whatever is positive.
    let one_threshold = || Source::One { name: "threshold".to_owned(), times: 1.0 };
    Ok(match dict_class {
        "AutoEncoder" => {
            Kind { finish: Finish::FoldDecoderNorm, ..linear(Architecture::Relu, "bias") }
        }
        "AutoEncoderNew" => {
            Kind { apply_b_dec: false, ..linear(Architecture::Relu, "decoder.bias") }
        }
        "GatedAutoEncoder" => {
            let mut kind = linear(Architecture::Gated, "decoder_bias");
            kind.sources.retain(|(weight, _)| *weight != Weight::BEnc);
            kind.sources.extend([
                (Weight::BEnc, Source::tensor("gate_bias")),
                (Weight::RMag, Source::tensor("r_mag")),
                (Weight::BMag, Source::tensor("mag_bias")),
            ]);
            kind
        }
        "JumpReluAutoEncoder" => matrices(false, Source::tensor("threshold")),
        "AutoEncoderTopK" => {
            let k = k(file, config_k, path)?;
            let architecture = Architecture::TopK { k, rescale_acts_by_decoder_norm: false };
            // Its `encode` takes the k largest, whatever threshold training came to.
            Kind { ignored: &["k", "threshold"], ..linear(architecture, "b_dec") }
        }
        "BatchTopKSAE" => {
            k(file, config_k, path)?;
            let mut kind = linear(Architecture::JumpRelu, "b_dec");
            kind.sources.push((Weight::Threshold, one_threshold()));
            Kind { ignored: &["k"], ..kind }
        }
        "MatryoshkaBatchTopKSAE" => {
            k(file, config_k, path)?;
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

/// k, which `load_dictionary` wants to be the same in both files.
fn k(file: &TensorFile, config_k: Option<usize>, path: &Path) -> Result<usize, CheckpointError> {
    let k = file.read_scalar("k")?;
    match config_k {
        Some(config_k) if config_k as f32 != k => Err(CheckpointError::Contradicted {
            path: path.to_owned(),
            key: "trainer.k",
            found: config_k.to_string(),
            expected: k.to_string(),
        }),
        _ => Ok(k as usize),
    }
}

impl RawConfig {
    /// The place of a submodule whose name says that it is the residual stream. Other names are
    /// free text, and are kept for whoever has to place the SAE.
    fn place(&self, path: &Path) -> Result<Place, CheckpointError> {
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
        let Some(name) = submodule_name else { return Ok(Place::default()) };
        Ok(match layer {
            _ if io == "in" => Place::at(format!("input of {name}")),
            Some(layer) if name.contains("resid_pre") => {
                Place::at(format!("blocks.{layer}.hook_resid_pre"))
            }
            Some(layer) if name.contains("resid") => {
                Place::at(format!("blocks.{layer}.hook_resid_post"))
            }
            _ => Place::at(name.clone()),
        })
    }
}
