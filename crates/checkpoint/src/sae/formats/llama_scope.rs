//! Llama Scope and other SAEs by OpenMOSS's Language-Model-SAEs: `hyperparams.json` above
//! `checkpoints/final.safetensors`, in later versions `config.json` beside
//! `sae_weights.safetensors`.

use std::path::{Path, PathBuf};

use nanoscope_sae::{Architecture, Normalization, SaeConfig, SaeError};
use serde::Deserialize;
use serde_json::Value;

use crate::container::{Order, TensorFile, safetensors};
use crate::error::{CheckpointError, SaeFileError};
use crate::files;
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat};
use crate::sae::formats::saelens;
use crate::sae::sae_file::{Postprocess, SaeFile};
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "Llama Scope",
    layout: Some(Layout {
        names: "checkpoints/final.safetensors with hyperparams.json",
        files: |folder| {
            let hyperparams = folder.file(HYPERPARAMS_FILE);
            let weights = hyperparams
                .map(|path| path.with_file_name(CHECKPOINTS_DIR).join(WEIGHTS_FILE))
                .filter(|path| files::is_file(path));
            weights.into_iter().collect()
        },
        weights_dir: Some(CHECKPOINTS_DIR),
        copies_dir: None,
    }),
    claims,
    open,
};

const HYPERPARAMS_FILE: &str = "hyperparams.json";
const CHECKPOINTS_DIR: &str = "checkpoints";
const WEIGHTS_FILE: &str = "final.safetensors";
const CONFIG_FILE: &str = "config.json";
/// The prefix of the tensor with the mean norm at a hook point.
const NORM: &str = "dataset_average_activation_norm.";
const LOG_THRESHOLD: &str = "log_jumprelu_threshold";

/// The keys that decide numbers or places. The others, some eighty over the years, are
/// options of training.
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

/// Mean norms of the training activations.
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

/// Returns the path of the configuration for the weights at `path`, and true if it is of the first
/// version.
fn config_path(path: &Path) -> Option<(PathBuf, bool)> {
    let dir = path.parent()?;
    let first = dir.file_name().filter(|name| *name == CHECKPOINTS_DIR).and(dir.parent());
    let first = first.map(|dir| dir.join(HYPERPARAMS_FILE)).filter(|path| files::is_file(path));
    let later = || {
        let is_named = path.file_name().is_some_and(|name| name == saelens::WEIGHTS_FILE);
        is_named.then(|| dir.join(CONFIG_FILE)).filter(|path| files::is_file(path))
    };
    first.map(|path| (path, true)).or_else(|| later().map(|path| (path, false)))
}

/// Claims the tool's layouts. A `config.json` beside weights is common, so that the later layout also
/// needs the names of the encoder.
fn claims(file: &TensorFile) -> Claim {
    let has_encoder = || ["W_E", "encoder.weight"].iter().any(|name| file.info(name).is_ok());
    let is_placed = config_path(file.path()).is_some_and(|(_, is_first)| is_first || has_encoder());
    Claim::evidence(file.format() == safetensors::FORMAT && is_placed)
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let (path, is_first) = config_path(file.path()).expect("only claimed files are opened");
    let description: Value = json::read(&path)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    let cfg = Cfg { path: &path, raw: &raw, file: &file, is_first };
    cfg.check()?;
    let hook_in = raw.hook_point_in.clone();
    let hook_out = raw.hook_point_out.clone().filter(|out| Some(out) != hook_in.as_ref());
    let scales = cfg.scales()?;
    let is_transcoder = hook_out.is_some();

    let (architecture, threshold) = cfg.architecture(scales)?;
    // Input and output each have a scale. A transcoder's scales are folded into the weights, because
    // our normalisations have only one.
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
        .map_err(|source| SaeFileError::Sae { path: path.clone(), source })?;

    // The later version has the names of linear layers and is stored transposed.
    let is_linear = file.info("encoder.weight").is_ok();
    let names = if is_linear {
        ["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"]
    } else {
        ["W_E", "b_E", "W_D", "b_D"]
    };
    let order = if is_linear { Order::Transposed } else { Order::AsStored };
    let matrix = |name: &str, times| StoredWeight::Tensor { name: name.to_owned(), order, times };
    let b_dec = if raw.use_decoder_bias {
        let (name, order) = (names[3].to_owned(), Order::AsStored);
        StoredWeight::Tensor { name, order, times: out_times }
    } else {
        StoredWeight::Constant(0.0)
    };
    let mut weights = vec![
        (Weight::WEnc, matrix(names[0], w_times)),
        (Weight::BEnc, StoredWeight::tensor(names[1])),
        (Weight::WDec, matrix(names[2], out_times)),
        (Weight::BDec, b_dec),
    ];
    weights.extend(threshold.map(|threshold| (Weight::Threshold, threshold)));
    let by_norm = !is_first && raw.sparsity_include_decoder_norm;
    let postprocess = match architecture {
        Architecture::JumpRelu if by_norm => Postprocess::ThresholdOverDecoderNorm,
        _ => Postprocess::None,
    };
    if postprocess == Postprocess::ThresholdOverDecoderNorm && out_times != 1.0 {
        let what = "a transcoder with sparsity_include_decoder_norm and two scales";
        return Err(cfg.unsupported(what));
    }
    SaeFile {
        hooks: SaeHooks { hook: hook_in, hook_out },
        weights,
        postprocess,
        ignored: &["dataset_average_activation_norm.*"],
        description: Some(description),
        ..SaeFile::new(file, FORMAT.name, config)
    }
    .checked()
}

struct Cfg<'a> {
    path: &'a Path,
    raw: &'a RawConfig,
    file: &'a TensorFile,
    /// True for the first version, with `hyperparams.json`.
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

    /// Returns the factors by which input activations are multiplied and output activations are
    /// divided: the square root of their width over the mean norm in training.
    fn scales(&self) -> Result<Option<[f32; 2]>, CheckpointError> {
        let raw = self.raw;
        match raw.norm_activation.as_str() {
            "dataset-wise" => {}
            // It was folded into the weights.
            "inference" => return Ok(None),
            other => return Err(self.unknown("norm_activation", other, "dataset-wise, inference")),
        }
        let root = (raw.d_model as f32).sqrt();
        let scale = |norm: f32| {
            let scale = root / norm;
            let source = SaeError::Scale { found: scale };
            let unusable = || {
                CheckpointError::SaeFile(SaeFileError::Sae { path: self.path.to_owned(), source })
            };
            (scale > 0.0 && scale.is_finite()).then_some(scale).ok_or_else(unusable)
        };
        if let Some(norms) = &raw.dataset_average_activation_norm {
            return Ok(Some([scale(norms.r#in)?, scale(norms.out)?]));
        }
        let missing = |key| CheckpointError::MissingKey { path: self.path.to_owned(), key };
        let hook_in = raw.hook_point_in.as_ref().ok_or_else(|| missing("hook_point_in"))?;
        let hook_out = raw.hook_point_out.as_ref().unwrap_or(hook_in);
        let read = |hook: &str| scale(self.file.read_scalar(&format!("{NORM}{hook}"))?);
        Ok(Some([read(hook_in)?, read(hook_out)?]))
    }

    fn architecture(
        &self,
        scales: Option<[f32; 2]>,
    ) -> Result<(Architecture, Option<StoredWeight>), CheckpointError> {
        let raw = self.raw;
        match raw.act_fn.as_str() {
            "relu" => Ok((Architecture::Relu, None)),
            "jumprelu" if self.file.info(LOG_THRESHOLD).is_ok() => {
                let threshold = StoredWeight::Log { name: LOG_THRESHOLD.to_owned() };
                Ok((Architecture::JumpRelu, Some(threshold)))
            }
            "jumprelu" if self.is_first => {
                // As in SAELens: a threshold on activations in the scale of the model.
                let scale = scales.map_or(1.0, |[scale, _]| scale);
                let threshold = raw.jump_relu_threshold * scale;
                if !threshold.is_finite() {
                    let found = raw.jump_relu_threshold.to_string();
                    return Err(self.unknown("jump_relu_threshold", &found, "a finite number"));
                }
                Ok((Architecture::JumpRelu, Some(StoredWeight::Constant(threshold))))
            }
            "jumprelu" => Err(CheckpointError::MissingTensor {
                path: self.file.path().to_owned(),
                tensor: LOG_THRESHOLD.to_owned(),
            }),
            // The k largest by another measure than the feature activations.
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
