//! SAELens's folders of every version: `cfg.json` and `sae_weights.safetensors`.

use std::path::Path;

use nanoscope_sae::{Architecture, Normalization, SaeConfig, SaeError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::container::{Order, TensorFile};
use crate::error::{CheckpointError, SaeFileError};
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat};
use crate::sae::formats::saelens_provenance::provenance;
use crate::sae::formats::saelens_scaler::{Scaler, WHITENING_FILE};
use crate::sae::formats::whole_number::Number;
use crate::sae::path_names::is_beside;
use crate::sae::sae_file::{Postprocess, SaeFile};
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight, usual_weights};
use crate::sae::whitening::{COVARIANCE_WHITENING, Whitening};

/// This format.
pub(crate) const FORMAT: SaeFormat = SaeFormat {
    name: "SAELens",
    layout: Some(Layout::new(WEIGHTS_FILE, |folder| folder.files(WEIGHTS_FILE))),
    claims,
    open,
};

pub(crate) const WEIGHTS_FILE: &str = "sae_weights.safetensors";
pub(crate) const CONFIG_FILE: &str = "cfg.json";

/// The keys of `cfg.json` that decide numbers or places, of every version. Version 6 has the rest in
/// `metadata`; before, all keys were side by side.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the keys of SAELens's cfg.json")]
struct RawConfig {
    d_in: usize,
    d_sae: usize,
    d_out: Option<usize>,
    architecture: Option<String>,
    apply_b_dec_to_input: Option<bool>,
    #[serde(default)]
    normalize_activations: Value,
    /// A float in SAELens's batch-top-k, where it is the mean.
    k: Option<Number>,
    rescale_acts_by_decoder_norm: Option<bool>,
    residual_threshold: Option<f32>,
    max_iterations: Option<usize>,
    stop_on_duplicate_support: Option<bool>,
    #[serde(default)]
    metadata: Metadata,

    sae_lens_version: Option<String>,
    #[serde(alias = "activation_fn_str")]
    activation_fn: Option<String>,
    activation_fn_kwargs: Option<Map<String, Value>>,
    #[serde(default)]
    finetuning_scaling_factor: bool,
    #[serde(default)]
    is_transcoder: bool,
    #[serde(alias = "hook_point")]
    hook_name: Option<String>,
    #[serde(alias = "hook_point_head_index")]
    hook_head_index: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    sae_lens_version: Option<String>,
    hook_name: Option<String>,
    hook_name_out: Option<String>,
    hf_hook_name: Option<String>,
    hook_head_index: Option<i64>,
    hook_head_index_out: Option<i64>,
}

/// Further keys of version 6, for inference and training, that do not change what an SAE computes.
/// (Earlier versions write eighty keys; [`RawConfig`] has all that do.)
const OTHER_KEYS: [&str; 24] = [
    "dtype",
    "device",
    "reshape_activations",
    "decoder_init_norm",
    "l1_coefficient",
    "l1_warm_up_steps",
    "lp_norm",
    "use_sparse_activations",
    "aux_loss_coefficient",
    "topk_threshold_lr",
    "matryoshka_widths",
    "use_matryoshka_aux_loss",
    "jumprelu_init_threshold",
    "jumprelu_bandwidth",
    "jumprelu_sparsity_loss_mode",
    "jumprelu_ste_to_input",
    "jumprelu_tanh_scale",
    "l0_coefficient",
    "l0_warm_up_steps",
    "pre_act_loss_coefficient",
    "target_l0",
    // Keys from before version 6, which a converted file can still have.
    "model_name",
    "hook_layer",
    "prepend_bos",
];

/// The keys of [`RawConfig`] in version 6.
const KEYS: [&str; 13] = [
    "d_in",
    "d_sae",
    "d_out",
    "architecture",
    "apply_b_dec_to_input",
    "normalize_activations",
    "k",
    "rescale_acts_by_decoder_norm",
    "residual_threshold",
    "max_iterations",
    "stop_on_duplicate_support",
    "metadata",
    "sae_lens_version",
];

/// The default of `k` in versions that have the key.
const DEFAULT_K: Number = Number::Whole(100);
/// The default of `residual_threshold`.
const DEFAULT_RESIDUAL_THRESHOLD: f32 = 1e-2;

fn claims(file: &TensorFile) -> Claim {
    Claim::evidence(is_beside(file.path(), WEIGHTS_FILE, CONFIG_FILE))
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description: Value = json::read(&path)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    let cfg = Cfg { path: &path, raw: &raw, is_old: is_before_6(&raw) };
    cfg.check_places()?;
    // An architecture that we do not have has keys of its own.
    let kind = cfg.kind(&file)?;
    if !cfg.is_old {
        json::check_keys(&path, &description, &[&KEYS[..], &OTHER_KEYS].concat())?;
    }

    let d_out = if kind.is_transcoder { raw.d_out.unwrap_or(raw.d_in) } else { raw.d_in };
    let Normalised { normalization, unsettled, whitening, notes } =
        cfg.normalization(Scaler::beside(file.path(), raw.d_in)?)?;
    let is_normalised =
        normalization != Normalization::None || unsettled.is_some() || whitening.is_some();
    if kind.is_transcoder && is_normalised {
        return Err(cfg.unsupported(format!(
            "a transcoder with normalize_activations `{}` (SAELens leaves its output normalised)",
            unsettled.unwrap_or(normalization.name())
        )));
    }
    let apply_b_dec = cfg.apply_b_dec_to_input(&kind)?;
    let config = SaeConfig::new(raw.d_in, raw.d_sae, kind.architecture)
        .and_then(|config| config.with_d_out(d_out))
        .and_then(|config| config.with_normalization(normalization))
        .and_then(|config| config.with_apply_b_dec_to_input(apply_b_dec))
        .map_err(|source| cfg.unusable(source))?;
    let config = if kind.skip { config.with_skip() } else { config };

    let mut weights = usual_weights();
    // The architecture's own weights replace the usual ones.
    weights.retain(|(usual, _)| !kind.weights.iter().any(|(own, _)| own == usual));
    weights.extend(kind.weights);
    let postprocess = if cfg.scales_decoder_rows(&file)? {
        Postprocess::ScaleDecoderRows(SCALING_FACTOR.to_owned())
    } else {
        kind.postprocess
    };
    let hook = raw.metadata.hook_name.clone().or_else(|| raw.hook_name.clone());
    // SAELens has this name for what the MLP of Gemma reads, which is after the norm; in
    // TransformerLens it is before.
    let is_read_by_mlp = hook.as_deref().is_some_and(|name| name.ends_with(".hook_mlp_in"));
    let module = raw.metadata.hf_hook_name.clone().filter(|_| is_read_by_mlp);
    let hook = module.or(hook);
    let hook_out = raw.metadata.hook_name_out.clone().filter(|_| kind.is_transcoder);
    // `checked` marks one that names its output.
    let config =
        if kind.is_transcoder && hook_out.is_none() { config.into_transcoder() } else { config };
    SaeFile {
        hooks: SaeHooks { hook, hook_out },
        weights,
        postprocess,
        metadata: provenance(file.path(), &description),
        description: Some(description),
        notes,
        unsettled,
        whitening,
        ignored: kind.ignored,
        ..SaeFile::new(file, FORMAT.name, config)
    }
    .checked()
}

/// A tensor with one scale per feature, from before version 6.
const SCALING_FACTOR: &str = "scaling_factor";

/// The properties of an `architecture`.
struct Kind {
    architecture: Architecture,
    is_transcoder: bool,
    skip: bool,
    /// The weights in addition to those of every SAE.
    weights: Vec<(Weight, StoredWeight)>,
    postprocess: Postprocess,
    ignored: &'static [&'static str],
}

/// SAELens's name of the normalisation by one factor.
const EXPECTED_AVERAGE: &str = "expected_average_only_in";

/// The normalisation of an SAE, as far as its files state it.
struct Normalised {
    normalization: Normalization,
    /// The name of one that may or may not be in the weights.
    unsettled: Option<&'static str>,
    whitening: Option<Whitening>,
    notes: Vec<(&'static str, String)>,
}

impl From<Normalization> for Normalised {
    fn from(normalization: Normalization) -> Self {
        Self { normalization, unsettled: None, whitening: None, notes: Vec::new() }
    }
}

impl Normalised {
    fn unsettled(name: &'static str) -> Self {
        Self { unsettled: Some(name), ..Normalization::None.into() }
    }
}

struct Cfg<'a> {
    path: &'a Path,
    raw: &'a RawConfig,
    /// True before version 6, which changed the defaults.
    is_old: bool,
}

fn is_before_6(raw: &RawConfig) -> bool {
    let version = raw.sae_lens_version.as_ref().or(raw.metadata.sae_lens_version.as_ref());
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_none_or(|major| major < 6)
}

impl Cfg<'_> {
    fn check_places(&self) -> Result<(), CheckpointError> {
        let raw = self.raw;
        let head =
            [raw.hook_head_index, raw.metadata.hook_head_index, raw.metadata.hook_head_index_out];
        if let Some(head) = head.into_iter().flatten().next() {
            return Err(self.unsupported(format!("an SAE of one attention head ({head})")));
        }
        if self.is_old && raw.is_transcoder {
            return Err(self.unsupported("a transcoder from before SAELens 6".to_owned()));
        }
        Ok(())
    }

    fn kind(&self, file: &TensorFile) -> Result<Kind, CheckpointError> {
        let raw = self.raw;
        let kind = |architecture| Kind {
            architecture,
            is_transcoder: false,
            skip: false,
            weights: Vec::new(),
            postprocess: Postprocess::None,
            ignored: &[SCALING_FACTOR],
        };
        let threshold = || {
            // Training once stored its logarithm.
            let log = file.info("threshold").is_err() && file.info("log_threshold").is_ok();
            let source = if log {
                StoredWeight::Log { name: "log_threshold".to_owned() }
            } else {
                StoredWeight::tensor("threshold")
            };
            vec![(Weight::Threshold, source)]
        };
        let jump = || Kind { weights: threshold(), ..kind(Architecture::JumpRelu) };
        let transcoder = |kind: Kind| Kind { is_transcoder: true, ..kind };
        let skipping = |kind: Kind| {
            let mut weights = kind.weights;
            weights.push((Weight::WSkip, StoredWeight::transposed("W_skip")));
            Kind { is_transcoder: true, skip: true, weights, ..kind }
        };
        let rescale = raw.rescale_acts_by_decoder_norm;
        self.check_k()?;
        let rescale_acts_by_decoder_norm = rescale.unwrap_or(false);
        Ok(match self.architecture()? {
            "standard" => kind(Architecture::Relu),
            "topk" => kind(Architecture::TopK { k: self.k()?, rescale_acts_by_decoder_norm }),
            "abstopk" => kind(Architecture::AbsTopK { k: self.k()?, rescale_acts_by_decoder_norm }),
            "matching_pursuit" => self.matching_pursuit(),
            "jumprelu" => jump(),
            // Stored as in training; SAELens converts them for inference.
            "batchtopk" | "matryoshka_batchtopk" => Kind {
                weights: vec![(
                    Weight::Threshold,
                    StoredWeight::Scalar { name: "topk_threshold".to_owned(), times: 1.0 },
                )],
                postprocess: if rescale.unwrap_or(true) {
                    Postprocess::RescaleByDecoderNorm
                } else {
                    Postprocess::None
                },
                ..kind(Architecture::JumpRelu)
            },
            "gated" => Kind {
                weights: vec![
                    (Weight::BEnc, StoredWeight::tensor("b_gate")),
                    (Weight::RMag, StoredWeight::tensor("r_mag")),
                    (Weight::BMag, StoredWeight::tensor("b_mag")),
                ],
                ..kind(Architecture::Gated)
            },
            "transcoder" => transcoder(kind(Architecture::Relu)),
            "skip_transcoder" => skipping(kind(Architecture::Relu)),
            "jumprelu_transcoder" => transcoder(jump()),
            "jumprelu_skip_transcoder" => skipping(jump()),
            other => {
                return Err(CheckpointError::UnknownValue {
                    path: self.path.to_owned(),
                    key: "architecture",
                    found: other.to_owned(),
                    known: "standard, topk, abstopk, jumprelu, gated, batchtopk, \
                            matryoshka_batchtopk, matching_pursuit, transcoder, skip_transcoder, \
                            jumprelu_transcoder, jumprelu_skip_transcoder; the features of a \
                            temporal SAE depend on all earlier tokens",
                });
            }
        })
    }

    /// The encoder is the transposed decoder, and there is no bias in it. The decoder has one only if
    /// it is subtracted from the input, too.
    fn matching_pursuit(&self) -> Kind {
        let raw = self.raw;
        let mut weights = vec![
            (Weight::WEnc, StoredWeight::transposed("W_dec")),
            (Weight::BEnc, StoredWeight::Constant(0.0)),
        ];
        let has_bias = raw.apply_b_dec_to_input.unwrap_or(true);
        if !has_bias {
            weights.push((Weight::BDec, StoredWeight::Constant(0.0)));
        }
        Kind {
            architecture: Architecture::MatchingPursuit {
                residual_threshold: raw.residual_threshold.unwrap_or(DEFAULT_RESIDUAL_THRESHOLD),
                max_iterations: raw.max_iterations.unwrap_or(raw.d_in),
                stop_on_duplicate_support: raw.stop_on_duplicate_support.unwrap_or(true),
            },
            is_transcoder: false,
            skip: false,
            weights,
            postprocess: Postprocess::None,
            ignored: &[SCALING_FACTOR, "b_dec"],
        }
    }

    /// Checks that there is a `k` where it is used. Before version 6 it had no default.
    fn check_k(&self) -> Result<(), CheckpointError> {
        let kwargs = self.raw.activation_fn_kwargs.as_ref();
        let has_k = self.raw.k.is_some() || kwargs.is_some_and(|kwargs| kwargs.contains_key("k"));
        if self.is_old && !has_k && ["topk", "abstopk"].contains(&self.architecture()?) {
            return Err(CheckpointError::MissingKey { path: self.path.to_owned(), key: "k" });
        }
        Ok(())
    }

    /// Returns `k` of an architecture that keeps this number of features.
    fn k(&self) -> Result<usize, CheckpointError> {
        let (key, k) = match (&self.raw.activation_fn_kwargs, self.raw.k) {
            (Some(kwargs), None) => match kwargs.get("k") {
                Some(k) => ("activation_fn_kwargs.k", json::from_value(self.path, k.clone())?),
                None => ("k", DEFAULT_K),
            },
            (_, k) => ("k", k.unwrap_or(DEFAULT_K)),
        };
        k.whole(self.path, key)
    }

    fn architecture(&self) -> Result<&str, CheckpointError> {
        let raw = self.raw;
        if self.is_old {
            let architecture = raw.architecture.as_deref().unwrap_or("standard");
            return match raw.activation_fn.as_deref() {
                // Top-k used to be an activation function of the standard architecture.
                Some("topk") if architecture == "standard" => Ok("topk"),
                None | Some("relu" | "topk") => Ok(architecture),
                Some(other) => Err(CheckpointError::UnknownValue {
                    path: self.path.to_owned(),
                    key: "activation_fn",
                    found: other.to_owned(),
                    known: "relu, topk",
                }),
            };
        }
        raw.architecture.as_deref().ok_or_else(|| CheckpointError::MissingKey {
            path: self.path.to_owned(),
            key: "architecture",
        })
    }

    fn apply_b_dec_to_input(&self, kind: &Kind) -> Result<bool, CheckpointError> {
        match (kind.is_transcoder, self.raw.apply_b_dec_to_input) {
            // A transcoder's `b_dec` belongs to its output, not its input; SAELens refuses this, too.
            (true, Some(true)) => {
                Err(self.unsupported("a transcoder with apply_b_dec_to_input".to_owned()))
            }
            (true, _) => Ok(false),
            // The default is true in every version.
            (false, apply) => Ok(apply.unwrap_or(true)),
        }
    }

    /// Combines the key with the `scaler` beside the weights. SAELens sets the key to `none` when it
    /// folds the normalisation into the weights, but ignores the two that it folds on loading, so that
    /// files from elsewhere can still name them.
    fn normalization(&self, scaler: Scaler) -> Result<Normalised, CheckpointError> {
        let name = match &self.raw.normalize_activations {
            Value::Null | Value::Bool(false) => "none",
            Value::Bool(true) if self.is_old => "expected_average_only_in",
            Value::String(name) => name.as_str(),
            other => return Err(self.unknown_normalization(other.to_string())),
        };
        match (name, scaler) {
            ("none", Scaler::None) => Ok(Normalization::None.into()),
            (EXPECTED_AVERAGE, Scaler::None) => Ok(Normalised::unsettled(EXPECTED_AVERAGE)),
            (COVARIANCE_WHITENING, Scaler::None) => Ok(Normalised::unsettled(COVARIANCE_WHITENING)),
            ("none" | EXPECTED_AVERAGE, Scaler::Factor { factor: scale, stated_in }) => {
                let note = format!("from {stated_in}: not folded into the weights");
                Ok(Normalised {
                    notes: vec![("factor", note)],
                    ..Normalization::ExpectedAverageOnlyIn { scale }.into()
                })
            }
            ("none" | COVARIANCE_WHITENING, Scaler::Whitening(whitening)) => {
                let note = format!("from {WHITENING_FILE}, folded into the weights on loading");
                Ok(Normalised {
                    whitening: Some(whitening),
                    notes: vec![("whitening", note)],
                    ..Normalization::None.into()
                })
            }
            ("constant_norm_rescale", Scaler::None) => {
                Ok(Normalization::ConstantNormRescale.into())
            }
            ("layer_norm", Scaler::None) => Ok(Normalization::LayerNorm.into()),
            (
                EXPECTED_AVERAGE | COVARIANCE_WHITENING | "constant_norm_rescale" | "layer_norm",
                other,
            ) => {
                let other =
                    if matches!(other, Scaler::Factor { .. }) { "factor" } else { "whitening" };
                Err(self.unsupported(format!("`{name}` with another {other} beside it")))
            }
            (other, _) => Err(self.unknown_normalization(other.to_owned())),
        }
    }

    fn unknown_normalization(&self, found: String) -> CheckpointError {
        CheckpointError::UnknownValue {
            path: self.path.to_owned(),
            key: "normalize_activations",
            found,
            known: "none, expected_average_only_in, constant_norm_rescale, layer_norm, \
                    covariance_whitening",
        }
    }

    /// Returns whether there is a `scaling_factor` that has an effect.
    fn scales_decoder_rows(&self, file: &TensorFile) -> Result<bool, CheckpointError> {
        if file.info(SCALING_FACTOR).is_err() {
            return Ok(false);
        }
        let data = file.read(SCALING_FACTOR, &[self.raw.d_sae], Order::AsStored)?;
        if data.iter::<f32>().all(|scale| (scale - 1.0).abs() <= 1e-5) {
            return Ok(false);
        }
        if self.raw.finetuning_scaling_factor {
            return Ok(true);
        }
        Err(self.unsupported("a scaling_factor without finetuning_scaling_factor".to_owned()))
    }

    fn unsupported(&self, what: String) -> CheckpointError {
        CheckpointError::Unsupported { path: self.path.to_owned(), what }
    }

    fn unusable(&self, source: SaeError) -> CheckpointError {
        CheckpointError::SaeFile(SaeFileError::Sae { path: self.path.to_owned(), source })
    }
}
