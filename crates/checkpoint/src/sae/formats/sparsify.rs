//! sparsify's folders: `cfg.json` and `sae.safetensors` in a folder named after a module.

use std::path::Path;

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::container::TensorFile;
use crate::error::{CheckpointError, SaeFileError};
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat};
use crate::sae::path_names::{is_beside, names, number_after};
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "sparsify",
    layout: Some(Layout::new(WEIGHTS_FILE, |folder| folder.files(WEIGHTS_FILE))),
    claims,
    open,
};

const WEIGHTS_FILE: &str = "sae.safetensors";
const CONFIG_FILE: &str = "cfg.json";

/// The keys of `SparseCoderConfig` that determine what is computed, with its defaults, and those of
/// earlier versions.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the keys of sparsify's cfg.json")]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
struct RawConfig {
    d_in: usize,
    #[serde(default = "default_activation")]
    activation: String,
    #[serde(default = "default_expansion_factor")]
    expansion_factor: usize,
    #[serde(default)]
    num_latents: usize,
    #[serde(default = "default_k")]
    k: usize,
    #[serde(default)]
    skip_connection: bool,
    #[serde(default)]
    transcode: bool,

    /// In early versions: keep the largest magnitudes with their sign. Later versions ignore it.
    #[serde(default)]
    signed: bool,
    #[serde(default)]
    jumprelu: bool,
}

/// The keys of [`RawConfig`], and the two that are options of training.
const KEYS: [&str; 11] = [
    "d_in",
    "activation",
    "expansion_factor",
    "num_latents",
    "k",
    "skip_connection",
    "transcode",
    "signed",
    "jumprelu",
    "normalize_decoder",
    "multi_topk",
];

fn default_activation() -> String {
    "topk".to_owned()
}
fn default_expansion_factor() -> usize {
    32
}
fn default_k() -> usize {
    32
}

fn claims(file: &TensorFile) -> Claim {
    Claim::evidence(is_beside(file.path(), WEIGHTS_FILE, CONFIG_FILE))
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description: Value = json::read(&path)?;
    json::check_keys(&path, &description, &KEYS)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    for (key, is_set) in [("signed", raw.signed), ("jumprelu", raw.jumprelu)] {
        if is_set {
            let what = format!("an SAE of an early version of sparsify, with `{key}`,");
            return Err(CheckpointError::Unsupported { path, what });
        }
    }
    let architecture = match raw.activation.as_str() {
        // The reference applies ReLU before the selection, which has the same result as after it.
        "topk" => Architecture::TopK { k: raw.k, rescale_acts_by_decoder_norm: false },
        "groupmax" => Architecture::GroupMax { k: raw.k },
        other => {
            return Err(CheckpointError::UnknownValue {
                path,
                key: "activation",
                found: other.to_owned(),
                known: "topk, groupmax",
            });
        }
    };
    let d_sae = match raw.num_latents {
        0 => raw.d_in.saturating_mul(raw.expansion_factor),
        given => given,
    };
    let config = SaeConfig::new(raw.d_in, d_sae, architecture)
        // Independent of `normalize_decoder`, which SAELens uses here.
        .and_then(|config| config.with_apply_b_dec_to_input(!raw.transcode))
        .map_err(|source| SaeFileError::Sae { path, source })?;
    let mut weights = vec![
        (Weight::WEnc, StoredWeight::transposed("encoder.weight")),
        (Weight::BEnc, StoredWeight::tensor("encoder.bias")),
        // One row per feature, unlike a linear layer's.
        (Weight::WDec, StoredWeight::tensor("W_dec")),
        (Weight::BDec, StoredWeight::tensor("b_dec")),
    ];
    let config = if raw.skip_connection {
        weights.push((Weight::WSkip, StoredWeight::transposed("W_skip")));
        config.with_skip()
    } else {
        config
    };
    let hooks = hooks(file.path(), raw.transcode);
    let description = Some(description);
    SaeFile { hooks, weights, description, ..SaeFile::new(file, FORMAT.name, config) }.checked()
}

/// Returns the hooks of the module that the folder is named after. With several seeds, each has a
/// subfolder.
fn hooks(path: &Path, transcode: bool) -> SaeHooks {
    let names = names(path);
    let mut folders = names.iter().skip(1).filter(|name| number_after(name, "seed").is_none());
    let Some(module) = folders.next() else { return SaeHooks::default() };
    let input = format!("input of {module}");
    if transcode { SaeHooks::between(input, module) } else { SaeHooks::at(module) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks_of(folder: &str, transcode: bool) -> SaeHooks {
        hooks(&Path::new("/runs").join(folder).join(WEIGHTS_FILE), transcode)
    }

    #[test]
    fn a_module_is_the_one_that_the_folder_is_named_after() {
        assert_eq!(hooks_of("layers.2", false), SaeHooks::at("layers.2"));
        assert_eq!(hooks_of("h.1.mlp/seed0", false), SaeHooks::at("h.1.mlp"));
        assert_eq!(
            hooks_of("layers.2.mlp", true),
            SaeHooks::between("input of layers.2.mlp", "layers.2.mlp")
        );
    }
}
