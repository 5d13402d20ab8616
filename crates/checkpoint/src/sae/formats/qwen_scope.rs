//! Qwen Scope: `layer3.sae.pt` in a repository like `SAE-Res-Qwen3-8B-Base-W64K-L0_50`.

use nanoscope_sae::{Architecture, SaeConfig};

use crate::container::TensorFile;
use crate::error::{CheckpointError, SaeFileError};
use crate::sae::formats::sae_format::{Claim, SaeFormat};
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat { name: "Qwen Scope", layout: None, claims, open };

const SUFFIX: &str = ".sae.pt";

fn claims(file: &TensorFile) -> Claim {
    let path = file.path();
    let is_named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
        name.strip_suffix(SUFFIX).is_some_and(|name| number_after(name, "layer").is_some())
    });
    Claim::evidence(is_named && file.is_pt() && file.info("W_enc").is_ok())
}

/// Returns the number of features kept: the end of the name of the innermost folder that is named like
/// a repository, `SAE-Res-Qwen3-8B-Base-W64K-L0_50`.
fn k(names: &[String]) -> Option<usize> {
    // In Hugging Face's cache the name has a prefix.
    let repository = names.iter().skip(1).find(|name| name.contains("SAE-Res-"))?;
    let (_, k) = repository.rsplit_once("-L0_")?;
    k.parse().ok()
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().to_owned();
    let names = names(&path);
    let k = k(&names);
    let k = k.ok_or_else(|| CheckpointError::NotInPath {
        path: path.clone(),
        what: "k, the number of features kept",
        example: "SAE-Res-Qwen3-8B-Base-W64K-L0_50",
    })?;
    let [d_sae, d_in] = file.matrix_shape("W_enc")?;
    let architecture = Architecture::TopK { k, rescale_acts_by_decoder_norm: false };
    let config = SaeConfig::new(d_in, d_sae, architecture)
        .map_err(|source| SaeFileError::Sae { path, source })?;
    // SAELens has the same names without transposing.
    let weights = vec![
        (Weight::WEnc, StoredWeight::transposed("W_enc")),
        (Weight::BEnc, StoredWeight::tensor("b_enc")),
        (Weight::WDec, StoredWeight::transposed("W_dec")),
        (Weight::BDec, StoredWeight::tensor("b_dec")),
    ];
    let layer = names.first().and_then(|name| number_after(name, "layer"));
    let layer = layer.expect("a file without a layer in its name is not claimed");
    let hooks = SaeHooks::at(format!("blocks.{layer}.hook_resid_post"));
    SaeFile { hooks, weights, ..SaeFile::new(file, FORMAT.name, config) }.checked()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn k_is_named_by_the_repository_and_by_no_other_folder() {
        let repository = "SAE-Res-Qwen3-8B-Base-W64K-L0_50";
        for (path, expected) in [
            (repository.to_owned(), Some(50)),
            (format!("models--Qwen--{repository}/snapshots/0a1b"), Some(50)),
            (format!("runs-L0_7/{repository}"), Some(50)),
            (format!("{repository}/L0_7"), Some(50)),
            ("runs-L0_7".to_owned(), None),
            ("SAE-Res-Qwen3-8B-Base-W64K".to_owned(), None),
        ] {
            let names = names(&Path::new("/data").join(&path).join("layer3.sae.pt"));
            assert_eq!(k(&names), expected, "{path}");
        }
    }
}
