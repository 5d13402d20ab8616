//! Saving SAEs in the format of nanochat-SAE.

use std::fs;
use std::path::Path;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, GateWeights, Normalization, Sae, SaeWeights};
use serde_json::Value;

use crate::container::WeightDtype;
use crate::error::CheckpointError;
use crate::sae::formats::nanochat_sae::{
    CONFIG, CONFIG_FILE, FORMAT, STATE_DICT, default_dtype, default_k, default_l1_coefficient,
    default_normalize_decoder,
};
use crate::sae::metadata::{self, Metadata};
use crate::sae::save::pt::write_pt;
use crate::sae::save::saved_weight::SavedWeight;
use crate::write::{is_stream, write_atomically};

/// Saves `sae` to the `.pt` file at `path` in the format of nanochat-SAE's `save_sae`: weights and
/// configuration in the file, whose folder is created if needed, and a `config.json` beside it
/// unless there is one. An existing `config.json`, which may belong to another SAE, is kept.
///
/// Subtracting `b_dec` from the input and a constant normalisation are folded into the weights,
/// because the reference has neither. Its `load_state_dict` converts 16-bit weights to float32.
///
/// # Errors
/// [`CheckpointError::NotExpressible`] if nanochat-SAE would compute something else,
/// [`CheckpointError::HookNotInReference`] if nanochat-SAE would attach it to another hook point,
/// [`CheckpointError::NotFinite`] if a weight does not fit `dtype`, [`CheckpointError::Io`].
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
/// As [`save_nanochat_sae`]; [`CheckpointError::Metadata`] if a key is `sae_state_dict` or `config`, an
/// integer does not fit `i64`, or an entry is nested too deeply; [`CheckpointError::MetadataTooLarge`].
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
    let hook_point = reference_name(hook)
        .ok_or_else(|| CheckpointError::HookNotInReference { path: path.to_owned(), hook })?;
    let refused = |reason| CheckpointError::NotExpressible {
        path: path.to_owned(),
        format: FORMAT.name,
        reason,
    };
    let unusable = |source| CheckpointError::Sae { path: path.to_owned(), source };
    if !matches!(
        sae.config().normalization(),
        Normalization::None | Normalization::ExpectedAverageOnlyIn { .. }
    ) {
        let name = sae.config().normalization().name();
        return Err(refused(format!(
            "it does not normalise activations, but this SAE does ({name})"
        )));
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
            return Err(refused(
                "its top-k keeps negative values, but this SAE's does not".to_owned(),
            ));
        }
        Architecture::Gated => {
            return Err(refused(
                "its gated SAEs have different weights and lack a ReLU".to_owned(),
            ));
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

/// Returns the name by which nanochat-SAE finds the module that outputs this activation. It
/// supports the outputs of blocks, attentions and MLPs, and mistakes every other name for one of
/// these.
fn reference_name(hook: HookPoint) -> Option<String> {
    match hook {
        HookPoint::ResidPost(_) => Some(hook.to_string()),
        HookPoint::AttnOut(layer) => Some(format!("blocks.{layer}.hook_attn")),
        HookPoint::MlpOut(layer) => Some(format!("blocks.{layer}.hook_mlp")),
        _ => None,
    }
}
