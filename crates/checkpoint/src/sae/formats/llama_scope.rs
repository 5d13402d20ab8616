//! Llama Scope and what OpenMOSS's Language-Model-SAEs writes: `hyperparams.json` over
//! `checkpoints/final.safetensors`, later `config.json` beside `sae_weights.safetensors`.

use std::path::{Path, PathBuf};

use nanoscope_sae::{Architecture, Normalization, SaeConfig, SaeError};
use serde::Deserialize;
use serde_json::Value;

use crate::container::{Order, TensorFile};
use crate::error::CheckpointError;
use crate::read::json;
use crate::sae::formats::saelens;
use crate::sae::sae_file::{Finish, Place, SaeFile, Source, Weight};

pub(crate) const HYPERPARAMS_FILE: &str = "hyperparams.json";
pub(crate) const CHECKPOINTS_DIR: &str = "checkpoints";
pub(crate) const WEIGHTS_FILE: &str = "final.safetensors";
const CONFIG_FILE: &str = "config.json";
/// What stands before a hook point's name in the tensor of its mean norm.
const NORM: &str = "dataset_average_activation_norm.";
const LOG_THRESHOLD: &str = "log_jumprelu_threshold";

/// The keys that decide numbers or places. The others, some eighty over the years, are of training.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the keys of Llama Scope's configuration")]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
struct RawConfig {
    #[serde(default = "default_sae_type")]
    sae_type: String,
    d_model: usize,
    d_sae: Option<usize>,
    expansion_factor: Option<usize>,
    act_fn: String,
    #[serde(default)]
    jump_relu_threshold: f32,
    #[serde(default = "default_norm_activation")]
    norm_activation: String,
    dataset_average_activation_norm: Option<Norms>,
    #[serde(default)]
    apply_decoder_bias_to_pre_encoder: bool,
    #[serde(default = "yes")]
    use_decoder_bias: bool,
    #[serde(default)]
    use_glu_encoder: bool,
    #[serde(default)]
    sparsity_include_decoder_norm: bool,
    #[serde(default)]
    top_k: usize,
    hook_point_in: Option<String>,
    hook_point_out: Option<String>,
}

/// Mean norms of the activations that were trained on.
#[derive(Debug, Deserialize)]
struct Norms {
    r#in: f32,
    out: f32,
}

fn default_sae_type() -> String {
    "sae".to_owned()
}
fn default_norm_activation() -> String {
    "dataset-wise".to_owned()
}
fn yes() -> bool {
    true
}

/// The configuration of the weights at `path`, and whether it is of the first form.
fn config_path(path: &Path) -> Option<(PathBuf, bool)> {
    let dir = path.parent()?;
    let first = dir.file_name().filter(|name| *name == CHECKPOINTS_DIR).and(dir.parent());
    let first = first.map(|dir| dir.join(HYPERPARAMS_FILE)).filter(|path| path.is_file());
    let later = || {
        let is_named = path.file_name().is_some_and(|name| name == saelens::WEIGHTS_FILE);
        is_named.then(|| dir.join(CONFIG_FILE)).filter(|path| path.is_file())
    };
    first.map(|path| (path, true)).or_else(|| later().map(|path| (path, false)))
}

/// Whether `file` is of this format, going by what lies around it. SAELens has a `cfg.json`.
pub(crate) fn claims(file: &TensorFile) -> bool {
    file.format() == "safetensors" && config_path(file.path()).is_some()
}

pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let (path, is_first) = config_path(file.path()).expect("what is opened was claimed");
    let description: Value = json::read(&path)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    let cfg = Cfg { path: &path, raw: &raw, file: &file, is_first };
    cfg.check()?;
    let hook_in = raw.hook_point_in.clone();
    let hook_out = raw.hook_point_out.clone().filter(|out| Some(out) != hook_in.as_ref());
    let scales = cfg.scales()?;
    let is_transcoder = hook_out.is_some();

    let (architecture, threshold) = cfg.architecture(scales)?;
    // What is read and what is written each have their own scale: of a transcoder that is in the
    // weights, as no normalisation of ours has two.
    let (normalization, w_times, out_times) = match scales {
        Some([scale, out]) if scale == out => {
            (Normalization::ExpectedAverageOnlyIn { scale }, 1.0, 1.0)
        }
        Some([scale, out]) => (Normalization::None, scale, 1.0 / out),
        None => (Normalization::None, 1.0, 1.0),
    };
    if is_transcoder && raw.apply_decoder_bias_to_pre_encoder {
        let what = "a transcoder with apply_decoder_bias_to_pre_encoder";
        return Err(cfg.unsupported(what));
    }
    let d_sae = match (raw.d_sae, raw.expansion_factor) {
        (Some(d_sae), _) => d_sae,
        (None, Some(factor)) => raw.d_model.saturating_mul(factor),
        (None, None) => {
            return Err(CheckpointError::MissingKey {
                path: path.clone(),
                key: "expansion_factor",
            });
        }
    };
    let config = SaeConfig::new(raw.d_model, d_sae, architecture)
        .and_then(|config| config.with_normalization(normalization))
        .and_then(|config| config.with_apply_b_dec_to_input(raw.apply_decoder_bias_to_pre_encoder))
        .map_err(|source| CheckpointError::Sae { path: path.clone(), source })?;

    // The later form is named for what it computes, and lies the other way round.
    let is_linear = file.info("encoder.weight").is_ok();
    let names = if is_linear {
        ["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"]
    } else {
        ["W_E", "b_E", "W_D", "b_D"]
    };
    let order = if is_linear { Order::Transposed } else { Order::AsStored };
    let matrix = |name: &str, times| Source::Tensor { name: name.to_owned(), order, times };
    let b_dec = if raw.use_decoder_bias {
        let (name, order) = (names[3].to_owned(), Order::AsStored);
        Source::Tensor { name, order, times: out_times }
    } else {
        Source::Fill(0.0)
    };
    let mut sources = vec![
        (Weight::WEnc, matrix(names[0], w_times)),
        (Weight::BEnc, Source::tensor(names[1])),
        (Weight::WDec, matrix(names[2], out_times)),
        (Weight::BDec, b_dec),
    ];
    sources.extend(threshold.map(|threshold| (Weight::Threshold, threshold)));
    let by_norm = !is_first && raw.sparsity_include_decoder_norm;
    let finish = match architecture {
        Architecture::JumpRelu if by_norm => Finish::ThresholdOverDecoderNorm,
        _ => Finish::AsRead,
    };
    if finish == Finish::ThresholdOverDecoderNorm && out_times != 1.0 {
        let what = "a transcoder with sparsity_include_decoder_norm and two scales";
        return Err(cfg.unsupported(what));
    }
    SaeFile {
        place: Place { hook: hook_in, hook_out },
        sources,
        finish,
        ignored: &["dataset_average_activation_norm.*"],
        description: Some(description),
        ..SaeFile::of(file, "Llama Scope", config)
    }
    .checked()
}

struct Cfg<'a> {
    path: &'a Path,
    raw: &'a RawConfig,
    file: &'a TensorFile,
    /// Of the form with `hyperparams.json`.
    is_first: bool,
}

impl Cfg<'_> {
    fn check(&self) -> Result<(), CheckpointError> {
        if self.raw.sae_type != "sae" {
            return Err(self.unknown("sae_type", &self.raw.sae_type, "sae"));
        }
        if self.raw.use_glu_encoder {
            return Err(self.unsupported("an SAE with use_glu_encoder"));
        }
        Ok(())
    }

    /// By what activations are multiplied as they are read, and divided as they are written: the
    /// root of their width over the mean norm of those trained on.
    fn scales(&self) -> Result<Option<[f32; 2]>, CheckpointError> {
        let raw = self.raw;
        match raw.norm_activation.as_str() {
            "dataset-wise" => {}
            // It was moved into the weights.
            "inference" => return Ok(None),
            other => return Err(self.unknown("norm_activation", other, "dataset-wise, inference")),
        }
        let root = (raw.d_model as f32).sqrt();
        let scale = |norm: f32| {
            let scale = root / norm;
            let source = SaeError::Scale { found: scale };
            let unusable = || CheckpointError::Sae { path: self.path.to_owned(), source };
            (scale > 0.0 && scale.is_finite()).then_some(scale).ok_or_else(unusable)
        };
        if let Some(norms) = &raw.dataset_average_activation_norm {
            return Ok(Some([scale(norms.r#in)?, scale(norms.out)?]));
        }
        let missing = |key| CheckpointError::MissingKey { path: self.path.to_owned(), key };
        let hook_in = raw.hook_point_in.as_ref().ok_or_else(|| missing("hook_point_in"))?;
        let hook_out = raw.hook_point_out.as_ref().unwrap_or(hook_in);
        let of = |hook: &str| scale(self.file.read_scalar(&format!("{NORM}{hook}"))?);
        Ok(Some([of(hook_in)?, of(hook_out)?]))
    }

    fn architecture(
        &self,
        scales: Option<[f32; 2]>,
    ) -> Result<(Architecture, Option<Source>), CheckpointError> {
        let raw = self.raw;
        match raw.act_fn.as_str() {
            "relu" => Ok((Architecture::Relu, None)),
            "jumprelu" if self.file.info(LOG_THRESHOLD).is_ok() => {
                let threshold = Source::Exp { name: LOG_THRESHOLD.to_owned() };
                Ok((Architecture::JumpRelu, Some(threshold)))
            }
            "jumprelu" if self.is_first => {
                // As SAELens has it: found on activations in the model's own scale.
                let scale = scales.map_or(1.0, |[scale, _]| scale);
                let threshold = raw.jump_relu_threshold * scale;
                if !threshold.is_finite() {
                    let found = raw.jump_relu_threshold.to_string();
                    return Err(self.unknown("jump_relu_threshold", &found, "finite numbers"));
                }
                Ok((Architecture::JumpRelu, Some(Source::Fill(threshold))))
            }
            "jumprelu" => Err(CheckpointError::MissingTensor {
                path: self.file.path().to_owned(),
                tensor: LOG_THRESHOLD.to_owned(),
            }),
            // The largest by another measure than the features themselves.
            "topk" if raw.sparsity_include_decoder_norm => {
                Err(self.unsupported("topk with sparsity_include_decoder_norm"))
            }
            "topk" => {
                let (k, rescale_acts_by_decoder_norm) = (raw.top_k, false);
                Ok((Architecture::TopK { k, rescale_acts_by_decoder_norm }, None))
            }
            other => Err(self.unknown("act_fn", other, "relu, jumprelu, topk")),
        }
    }

    fn unknown(&self, key: &'static str, found: &str, known: &'static str) -> CheckpointError {
        let (path, found) = (self.path.to_owned(), found.to_owned());
        CheckpointError::UnknownValue { path, key, found, known }
    }

    fn unsupported(&self, what: &str) -> CheckpointError {
        CheckpointError::Unsupported { path: self.path.to_owned(), what: what.to_owned() }
    }
}
