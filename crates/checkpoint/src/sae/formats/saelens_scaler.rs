//! The normalisation that SAELens estimates before training, in files beside its checkpoints.

use std::path::Path;

use serde::Deserialize;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::files;
use crate::read::json;
use crate::sae::whitening::Whitening;

/// The normalisation of the activations that the weights in the same folder take.
#[derive(Debug)]
pub(super) enum Scaler {
    /// The files beside the weights state none. They are then final, or were copied without it.
    None,
    /// The weights take activations multiplied by the factor.
    Factor { factor: f32, stated_in: &'static str },
    /// The weights take whitened activations.
    Whitening(Whitening),
}

/// Since version 6: the factor, `null` once it is folded into the weights.
const SCALER_FILE: &str = "activation_scaler.json";
/// Since version 6.50: the whitening, absent once it is folded into the weights.
pub(super) const WHITENING_FILE: &str = "activation_whitening.safetensors";
/// In version 5: the state of the texts, with the factor until it is folded into the weights.
const STORE_FILE: &str = "activations_store_state.safetensors";
const STORED_FACTOR: &str = "estimated_norm_scaling_factor";

/// Returns whether there is a file, or a link whose file is missing and cannot be read.
fn is_there(path: &Path) -> bool {
    files::exists(path) || path.is_symlink()
}

#[derive(Deserialize)]
#[serde(expecting = "the keys of SAELens's activation_scaler.json")]
struct RawScaler {
    scaling_factor: Option<f32>,
    has_whitening: Option<bool>,
}

impl Scaler {
    /// Reads the files beside the weights at `path`, of an SAE for activations of width `d_in`.
    pub(super) fn beside(path: &Path, d_in: usize) -> Result<Self, CheckpointError> {
        let scaler = path.with_file_name(SCALER_FILE);
        let raw = if is_there(&scaler) { Some(json::read::<RawScaler>(&scaler)?) } else { None };
        let Some(raw) = raw else { return Self::of_version_5(path) };
        let whitening = path.with_file_name(WHITENING_FILE);
        // A file that stays from an earlier checkpoint is not read by SAELens either.
        let is_whitened = raw.has_whitening.unwrap_or_else(|| is_there(&whitening));
        match (raw.scaling_factor, is_whitened) {
            (Some(_), true) => {
                let what = "an activation scaler with both a factor and a whitening".to_owned();
                Err(CheckpointError::Unsupported { path: scaler, what })
            }
            (Some(factor), false) => Ok(Self::Factor { factor, stated_in: SCALER_FILE }),
            (None, true) => Whitening::open(&whitening, d_in).map(Self::Whitening),
            (None, false) => Ok(Self::None),
        }
    }

    fn of_version_5(path: &Path) -> Result<Self, CheckpointError> {
        let store = path.with_file_name(STORE_FILE);
        if !is_there(&store) {
            return Ok(Self::None);
        }
        let file = TensorFile::open(&store)?;
        if file.tensors().all(|(name, _)| name != STORED_FACTOR) {
            return Ok(Self::None);
        }
        let factor = file.read_scalar(STORED_FACTOR)?;
        Ok(Self::Factor { factor, stated_in: STORE_FILE })
    }
}
