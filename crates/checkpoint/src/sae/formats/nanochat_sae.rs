//! nanochat-SAE's files: what `save_sae` writes, and its trainer's checkpoints.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, GateWeights, Normalization, Sae, SaeConfig, SaeWeights};
use serde::{Deserialize, Serialize};

use crate::container::{TensorFile, WeightDtype};
use crate::error::CheckpointError;
use crate::read::json;
use crate::sae::sae_file::{Place, SaeFile, Source, Weight};
use crate::sae::save::SavedWeight;
use crate::sae::save::pt::write_pt;
use crate::write::write_atomically;

/// The key of the weights in both kinds of file.
const STATE_DICT: &str = "sae_state_dict";
/// What stands before the names of the weights.
const SCOPE: &str = "sae_state_dict.";
/// The configuration beside files that do not hold their own.
const CONFIG_FILE: &str = "config.json";

/// `SAEConfig`, as its `to_dict` writes it, with the training keys that its `from_dict` also knows.
///
/// Only what decides the numbers is used; the rest is kept for people to look at.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "the keys of an SAE's configuration")]
struct RawSaeConfig {
    d_in: usize,
    d_sae: Option<usize>,
    #[serde(default = "default_activation")]
    activation: String,
    #[serde(default = "default_k")]
    k: usize,
    #[serde(default = "default_l1_coefficient")]
    l1_coefficient: f64,
    #[serde(default = "default_normalize_decoder")]
    normalize_decoder: bool,
    #[serde(default = "default_dtype")]
    dtype: String,
    #[serde(default = "default_hook_point")]
    hook_point: String,
    #[serde(default = "default_expansion_factor")]
    expansion_factor: usize,

    /// Whatever else is there; it must be one of [`TRAINING_KEYS`].
    #[serde(flatten, skip_serializing)]
    others: BTreeMap<String, serde_json::Value>,
}

/// Keys of `SAEConfig` that only its trainer reads. `to_dict` leaves them out, `from_dict` takes
/// them.
const TRAINING_KEYS: [&str; 9] = [
    "num_activations",
    "batch_size",
    "num_epochs",
    "learning_rate",
    "warmup_steps",
    "dead_latent_threshold",
    "resample_interval",
    "eval_every",
    "save_every",
];

fn default_activation() -> String {
    "topk".to_owned()
}
fn default_k() -> usize {
    64
}
fn default_l1_coefficient() -> f64 {
    1e-3
}
fn default_normalize_decoder() -> bool {
    true
}
fn default_dtype() -> String {
    "bfloat16".to_owned()
}
fn default_hook_point() -> String {
    HookPoint::ResidPost(0).to_string()
}
fn default_expansion_factor() -> usize {
    8
}

impl RawSaeConfig {
    /// `d_sae`, which `SAEConfig` derives if it is not given.
    fn d_sae(&self) -> usize {
        self.d_sae.unwrap_or(self.d_in.saturating_mul(self.expansion_factor))
    }

    fn parse(&self, path: &Path) -> Result<(SaeConfig, HookPoint), CheckpointError> {
        if let Some(key) = self.others.keys().find(|key| !TRAINING_KEYS.contains(&key.as_str())) {
            return Err(CheckpointError::UnknownKey { path: path.to_owned(), key: key.clone() });
        }
        let architecture = match self.activation.as_str() {
            "topk" => Architecture::SignedTopK { k: self.k },
            "relu" => Architecture::Relu,
            "gated" => Architecture::SignedGated,
            other => {
                return Err(CheckpointError::UnknownValue {
                    path: path.to_owned(),
                    key: "activation",
                    found: other.to_owned(),
                    known: "topk, relu, gated",
                });
            }
        };
        let config = SaeConfig::new(self.d_in, self.d_sae(), architecture)
            .map_err(|source| CheckpointError::Sae { path: path.to_owned(), source })?;
        let hook = self
            .hook_point
            .parse()
            .map_err(|source| CheckpointError::Hook { path: path.to_owned(), source })?;
        Ok((config, hook))
    }
}

/// Whether `file` is of this format.
pub(crate) fn claims(file: &TensorFile) -> bool {
    file.value(STATE_DICT).is_some()
}

/// The SAE in `file`; the configuration inside it wins over the folder's.
pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path();
    let beside = path.with_file_name(CONFIG_FILE);
    let (raw, described_in): (RawSaeConfig, &Path) = match file.value("config") {
        Some(value) => (json::from_value(path, json::from_pickle(value))?, path),
        None if beside.is_file() => (json::read(&beside)?, &beside),
        None => return Err(CheckpointError::NoConfig { path: path.to_owned() }),
    };
    let (config, hook) = raw.parse(described_in)?;
    let own = |name: &str| Source::tensor(format!("{SCOPE}{name}"));
    let mut sources = vec![
        (Weight::WEnc, own("W_enc")),
        (Weight::BEnc, own("b_enc")),
        (Weight::WDec, own("W_dec")),
        (Weight::BDec, own("b_dec")),
    ];
    if config.architecture() == Architecture::SignedGated {
        sources.extend([(Weight::WGate, own("W_gate")), (Weight::BGate, own("b_gate"))]);
    }
    let description = serde_json::to_value(&raw).expect("numbers and strings make JSON");
    SaeFile {
        place: Place::at(hook.to_string()),
        sources,
        scope: SCOPE,
        description: Some(description),
        ..SaeFile::of(file, "nanochat-SAE", config)
    }
    .checked()
}

/// Writes `sae` to the `.pt` file at `path` as nanochat-SAE's `save_sae` does: weights and
/// configuration in the file, its folder made if needed, and a `config.json` beside it where there
/// is none yet. Another SAE's `config.json` is left alone.
///
/// `b_dec` taken off the input and a constant normalisation are folded into the weights: the
/// reference knows neither. Its `load_state_dict` makes float32 of 16-bit weights.
///
/// # Errors
/// [`CheckpointError::NotExpressible`] if nanochat-SAE would compute something else,
/// [`CheckpointError::HookNotInReference`] if nanochat-SAE would attach it elsewhere,
/// [`CheckpointError::NotFinite`] if a weight does not fit `dtype`, [`CheckpointError::Io`].
pub fn save_nanochat_sae(
    path: &Path,
    sae: &Sae,
    hook: HookPoint,
    hook_out: Option<HookPoint>,
    dtype: WeightDtype,
) -> Result<(), CheckpointError> {
    let hook_point = reference_name(hook)
        .ok_or_else(|| CheckpointError::HookNotInReference { path: path.to_owned(), hook })?;
    let refused = |reason| CheckpointError::NotExpressible {
        path: path.to_owned(),
        format: "nanochat-SAE",
        reason,
    };
    let unusable = |source| CheckpointError::Sae { path: path.to_owned(), source };
    if !matches!(
        sae.config().normalization(),
        Normalization::None | Normalization::ExpectedAverageOnlyIn { .. }
    ) {
        let name = sae.config().normalization().name();
        return Err(refused(format!("it normalises no activation, this SAE does ({name})")));
    }
    if hook_out.is_some() || sae.config().skip() || sae.config().d_out() != sae.config().d_in() {
        return Err(refused("it has no transcoders".to_owned()));
    }
    let sae = sae.fold_normalization().map_err(unusable)?.fold_b_dec();
    let config = sae.config();
    let (d_in, d_sae) = (config.d_in(), config.d_sae());
    let (activation, k) = match config.architecture() {
        Architecture::SignedTopK { k } => ("topk", k),
        Architecture::Relu => ("relu", default_k()),
        Architecture::SignedGated => ("gated", default_k()),
        Architecture::TopK { .. } => {
            return Err(refused("its top-k keeps negative values, this SAE's does not".to_owned()));
        }
        Architecture::Gated => {
            return Err(refused("its gated SAEs have other weights and no ReLU".to_owned()));
        }
        other => return Err(refused(format!("it has no {} SAEs", other.name()))),
    };
    // In the order of the reference's `to_dict`.
    let description = serde_json::json!({
        "d_in": d_in,
        "d_sae": d_sae,
        "activation": activation,
        "k": k,
        "l1_coefficient": default_l1_coefficient(),
        "normalize_decoder": default_normalize_decoder(),
        "dtype": default_dtype(),
        "hook_point": hook_point,
        "expansion_factor": d_sae / d_in,
    });

    let SaeWeights { w_enc, b_enc, w_dec, b_dec, gate, .. } = sae.weights();
    let matrix = |name, x| SavedWeight::matrix(name, x, dtype);
    let vector = |name, x| SavedWeight::vector(name, x, dtype);
    let mut tensors = vec![
        matrix("W_enc", w_enc),
        vector("b_enc", b_enc),
        matrix("W_dec", w_dec),
        vector("b_dec", b_dec),
    ];
    if let Some(GateWeights { w_gate, b_gate }) = gate {
        tensors.extend([matrix("W_gate", w_gate), vector("b_gate", b_gate)]);
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(dir).map_err(|source| CheckpointError::io(dir, source))?;
    write_pt(path, (STATE_DICT, &tensors), &[("config", &description)])?;

    let beside = path.with_file_name(CONFIG_FILE);
    if beside.exists() {
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(&description).expect("numbers and strings make JSON");
    write_atomically(&beside, &text)
}

/// The name by which nanochat-SAE finds the module that makes this activation. It knows the outputs
/// of blocks, attentions and MLPs, and takes every other name for one of these.
fn reference_name(hook: HookPoint) -> Option<String> {
    match hook {
        HookPoint::ResidPost(_) => Some(hook.to_string()),
        HookPoint::AttnOut(layer) => Some(format!("blocks.{layer}.hook_attn")),
        HookPoint::MlpOut(layer) => Some(format!("blocks.{layer}.hook_mlp")),
        _ => None,
    }
}
