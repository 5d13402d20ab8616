//! Saves trained SAEs in formats that other tools read.

use std::path::Path;

use burn::tensor::TensorData;
use nanoscope_checkpoint::{
    CheckpointError, WeightDtype, save_nanochat_sae, save_saelens, save_tensors,
};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use super::checkpoints::StoredTensor;
use super::run_error::RunError;

/// Which SAE of a run: the best, or that of the final step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaeKind {
    Best,
    Final,
}

impl SaeKind {
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Final => "final",
        }
    }

    /// nanochat-SAE's file name.
    fn pt_file(self) -> &'static str {
        match self {
            Self::Best => "best_model.pt",
            Self::Final => "sae_final.pt",
        }
    }
}

/// The constant that SAELens adds to a density before taking the logarithm.
const DENSITY_EPSILON: f64 = 1e-10;

/// Writes `sae` to `dir` in SAELens's layout, with the base-10 logarithm of each feature's density
/// in `sparsity.safetensors`, and as nanochat-SAE's `.pt` if that format can express it.
pub(crate) fn save_sae(
    dir: &Path,
    sae: &Sae,
    hook: HookPoint,
    density: &[f64],
    which: SaeKind,
) -> Result<(), RunError> {
    save_saelens(dir, sae, hook, None, WeightDtype::F32)?;
    let sparsity: Vec<f32> =
        density.iter().map(|share| (share + DENSITY_EPSILON).log10() as f32).collect();
    let len = sparsity.len();
    let tensor = StoredTensor(TensorData::new(sparsity, [len]));
    save_tensors(&dir.join("sparsity.safetensors"), [("sparsity".to_owned(), tensor)])?;
    match save_nanochat_sae(&dir.join(which.pt_file()), sae, hook, None, WeightDtype::F32) {
        Err(
            CheckpointError::NotExpressible { .. } | CheckpointError::HookNotInReference { .. },
        ) => Ok(()),
        other => Ok(other?),
    }
}
