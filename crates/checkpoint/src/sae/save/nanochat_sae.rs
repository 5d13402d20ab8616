//! Saving SAEs in the format of nanochat-SAE.

use std::fs;
use std::path::Path;

use burn::tensor::DType;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::{GateWeights, MagnitudeWeights, Sae, SaeWeights};
use serde_json::Value;

use crate::container::WeightDtype;
use crate::error::{CheckpointError, SaeFileError};
use crate::sae::formats::nanochat_sae::{
    CONFIG, CONFIG_FILE, FORMAT, STATE_DICT, default_dtype, default_k, default_l1_coefficient,
    default_normalize_decoder,
};
use crate::sae::metadata::{self, Metadata};
use crate::sae::save::form::{SaveForm, in_nanochat_sae, instead_of, nanochat_sae_hook};
use crate::sae::save::pt::write_pt;
use crate::sae::save::saved_weight::SavedWeight;
use crate::write::{is_stream, write_atomically};

/// Saves `sae` to the `.pt` file at `path` in the format of nanochat-SAE's `save_sae`: weights and
/// configuration in the file, whose folder is created if needed, and a `config.json` beside it
/// unless there is one. An existing `config.json`, which may belong to another SAE, is kept.
///
/// Subtracting `b_dec` from the input and a constant normalisation are folded into the weights,
/// because the reference has neither. JumpReLU, and gated SAEs with a ReLU, are written as its `gated`,
/// whose gate has weights of its own. Its `load_state_dict` converts 16-bit weights to float32.
///
/// # Errors
/// [`SaeFileError::NotExpressible`] if nanochat-SAE would compute something else,
/// [`SaeFileError::HookNotInReference`] if nanochat-SAE would attach it to another hook point, both
/// with a form that can hold it,
/// [`CheckpointError::TooLarge`] if a weight does not fit `dtype`, [`CheckpointError::Io`].
pub fn save_nanochat_sae(
    path: &Path,
    sae: &Sae,
    hook: HookPoint,
    hook_out: Option<HookPoint>,
    dtype: WeightDtype,
) -> Result<(), CheckpointError> {
    save_nanochat_sae_with_metadata(path, sae, hook, hook_out, dtype, &Metadata::new())
}

/// As [`save_nanochat_sae`], with further entries in the checkpoint, which [`LoadedSae::metadata`]
/// returns when it is loaded.
///
/// They are written as Python's builtin types, so that `torch.load(path, weights_only=True)` reads
/// the file.
///
/// # Errors
/// As [`save_nanochat_sae`]; [`SaeFileError::Metadata`] if a key is `sae_state_dict` or `config`, an
/// integer does not fit `i64`, or an entry is nested too deeply; [`SaeFileError::MetadataTooLarge`].
/// No file is written then.
///
/// [`LoadedSae::metadata`]: crate::LoadedSae::metadata
pub fn save_nanochat_sae_with_metadata(
    path: &Path,
    sae: &Sae,
    hook: HookPoint,
    hook_out: Option<HookPoint>,
    dtype: WeightDtype,
    metadata: &Metadata,
) -> Result<(), CheckpointError> {
    metadata::check(metadata, &[STATE_DICT, CONFIG], path)?;
    let instead = || instead_of(SaveForm::NanochatSae, sae, hook, hook_out);
    let activation = in_nanochat_sae(sae, hook_out).map_err(|reason| {
        let (path, format) = (path.to_owned(), FORMAT.name);
        SaeFileError::NotExpressible { path, format, reason, instead: instead() }
    })?;
    let hook_point = nanochat_sae_hook(hook).ok_or_else(|| {
        let path = path.to_owned();
        SaeFileError::HookNotInReference { path, hook, instead: instead() }
    })?;
    let folded = sae.fold_normalization().and_then(|sae| sae.fold_b_dec());
    let sae = folded.map_err(|source| SaeFileError::Sae { path: path.to_owned(), source })?;
    let config = sae.config();
    let (d_in, d_sae) = (config.d_in(), config.d_sae());
    let k = config.architecture().k().unwrap_or(default_k());
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

    let SaeWeights { w_enc, b_enc, w_dec, b_dec, gate, .. } = with_gate(&sae);
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
    let others: Vec<(&str, &Value)> = [(CONFIG, &description)]
        .into_iter()
        .chain(metadata.iter().map(|(key, value)| (key.as_str(), value)))
        .collect();
    write_pt(path, (STATE_DICT, &tensors), &others)?;

    // The file carries its configuration too, so one of another file is left alone.
    let beside = path.with_file_name(CONFIG_FILE);
    if is_stream(path)? || beside.symlink_metadata().is_ok() {
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(&description).expect("numbers and strings make JSON");
    write_atomically(&beside, &text)
}

/// Returns the weights with the gate of a nanochat-SAE: `p` where `x · W_gate + b_gate > 0`.
///
/// The conditions of JumpReLU and of a gated SAE with a ReLU are of this kind. JumpReLU has
/// `p > max(θ, 0)`. In a gated SAE `u = x · W_enc` has to be above `−b_enc` for the gate, and above
/// `−b_mag · exp(−r_mag)` for the ReLU.
fn with_gate(sae: &Sae) -> SaeWeights {
    let weights = sae.weights();
    let (w_gate, b_enc) = (weights.w_enc.clone(), weights.b_enc.clone());
    match (weights.threshold.clone(), weights.magnitude.clone()) {
        (Some(threshold), _) => {
            let b_gate = b_enc - threshold.clamp_min(0.0);
            SaeWeights { gate: Some(GateWeights { w_gate, b_gate }), ..weights }
        }
        (_, Some(MagnitudeWeights { r_mag, b_mag })) => {
            let b_gate = b_enc.min_pair(b_mag.clone() * r_mag.clone().neg().exp());
            SaeWeights {
                w_enc: weights.w_enc.cast(DType::F32) * r_mag.exp().unsqueeze(),
                b_enc: b_mag,
                gate: Some(GateWeights { w_gate, b_gate }),
                ..weights
            }
        }
        (None, None) => weights,
    }
}
