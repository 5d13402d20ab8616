//! Saves trained SAEs in formats that other tools read.

use std::path::Path;

use burn::tensor::TensorData;
use nanoscope_checkpoint::{
    Metadata, WeightDtype, save_nanochat_sae_with_metadata, save_saelens_with_metadata,
    save_tensors,
};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, Sae};

use super::checkpoints::StoredTensor;
use super::run_error::RunError;

/// An SAE of a run: the best, or that of the final step.
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
/// in `sparsity.safetensors`, and as nanochat-SAE's `.pt` if that has the same architecture and hook
/// point. `provenance` goes into both.
pub(crate) fn save_sae(
    dir: &Path,
    sae: &Sae,
    hook: HookPoint,
    density: &[f64],
    which: SaeKind,
    provenance: &Metadata,
) -> Result<(), RunError> {
    save_saelens_with_metadata(dir, sae, hook, None, WeightDtype::F32, provenance)?;
    let sparsity: Vec<f32> =
        density.iter().map(|share| (share + DENSITY_EPSILON).log10() as f32).collect();
    let len = sparsity.len();
    let tensor = StoredTensor(TensorData::new(sparsity, [len]));
    save_tensors(&dir.join("sparsity.safetensors"), [("sparsity".to_owned(), tensor)])?;
    // The other architectures that nanochat-SAE can express would double the encoder.
    let is_expressible = sae.config().architecture() == Architecture::Relu
        && matches!(hook, HookPoint::ResidPost(_) | HookPoint::AttnOut(_) | HookPoint::MlpOut(_));
    if is_expressible {
        let path = dir.join(which.pt_file());
        save_nanochat_sae_with_metadata(&path, sae, hook, None, WeightDtype::F32, provenance)?;
    }
    Ok(())
}
