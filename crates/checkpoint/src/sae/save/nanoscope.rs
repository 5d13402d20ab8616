//! Saving SAEs in our own format.

use std::path::Path;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Sae, SaeWeights};
use serde_json::Value;

use crate::container::WeightDtype;
use crate::error::CheckpointError;
use crate::read::json;
use crate::sae::formats::nanoscope::{CONFIG_FILE, Description, FORMAT_NAME, WEIGHTS_FILE, names};
use crate::sae::metadata::{self, Metadata};
use crate::sae::save::saelens::check_output;
use crate::sae::save::saved_weight::SavedWeight;
use crate::sae::stored_weight::Weight;

/// Saves `sae` to `nanoscope_sae.json` and `nanoscope_sae.safetensors` in `dir`, which is created if
/// needed. Every SAE can be saved in this format, and is loaded with the same configuration; other
/// tools do not read it. The files appear when both are complete.
///
/// `hook_out` is the hook point that a transcoder writes. `metadata` is what
/// [`LoadedSae::metadata`](crate::LoadedSae::metadata) returns when it is loaded; our version is added
/// to it as `nanoscope_version`. Matrices are written as `dtype`; vectors stay float32.
///
/// # Errors
/// [`NoOutputHook`](crate::SaeFileError::NoOutputHook) if a transcoder is given without a `hook_out`,
/// [`Metadata`](crate::SaeFileError::Metadata) if an entry is nested too deeply, [`CheckpointError::TooLarge`]
/// if a weight does not fit `dtype`, [`CheckpointError::Io`].
pub fn save_sae(
    dir: &Path,
    sae: &Sae,
    hook: HookPoint,
    hook_out: Option<HookPoint>,
    dtype: WeightDtype,
    metadata: &Metadata,
) -> Result<(), CheckpointError> {
    let weights_file = dir.join(WEIGHTS_FILE);
    metadata::check(metadata, &[], &weights_file)?;
    check_output(&weights_file, sae, hook_out)?;
    let weights = weights(sae.weights(), dtype);
    SavedWeight::check_all(&weights, &weights_file)?;
    let mut metadata = metadata.clone();
    metadata.entry("nanoscope_version").or_insert_with(|| env!("CARGO_PKG_VERSION").into());
    let description = Description {
        format: FORMAT_NAME.to_owned(),
        config: sae.config().clone(),
        hook: hook.to_string(),
        hook_out: hook_out.map(|hook| hook.to_string()),
        metadata,
    };
    SavedWeight::write_folder(dir, (WEIGHTS_FILE, weights), (CONFIG_FILE, &description))
}

/// Returns whether `dir` has the configuration that [`save_sae`] writes.
pub fn is_saved_sae(dir: &Path) -> bool {
    json::read::<Value>(&dir.join(CONFIG_FILE)).is_ok_and(|config| config["format"] == FORMAT_NAME)
}

fn weights(weights: SaeWeights, dtype: WeightDtype) -> Vec<SavedWeight> {
    let matrix = |weight, x| SavedWeight::matrix(names(weight), x, dtype);
    let vector = |weight, x| SavedWeight::vector(names(weight), x, WeightDtype::F32);
    let mut saved = vec![
        matrix(Weight::WEnc, weights.w_enc),
        vector(Weight::BEnc, weights.b_enc),
        matrix(Weight::WDec, weights.w_dec),
        vector(Weight::BDec, weights.b_dec),
    ];
    saved.extend(weights.threshold.map(|threshold| vector(Weight::Threshold, threshold)));
    if let Some(magnitude) = weights.magnitude {
        saved.push(vector(Weight::RMag, magnitude.r_mag));
        saved.push(vector(Weight::BMag, magnitude.b_mag));
    }
    if let Some(gate) = weights.gate {
        saved.push(matrix(Weight::WGate, gate.w_gate));
        saved.push(vector(Weight::BGate, gate.b_gate));
    }
    saved.extend(weights.w_skip.map(|w_skip| matrix(Weight::WSkip, w_skip)));
    saved
}
