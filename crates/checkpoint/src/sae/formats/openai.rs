//! OpenAI's `.pt` files for GPT-2: `resid_post_mlp_v5_32k/autoencoders/8.pt`.

use std::path::Path;

use nanoscope_sae::{Architecture, Normalization, SaeConfig};

use crate::container::{PlainValue, TensorFile};
use crate::error::{CheckpointError, SaeFileError};
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, SaeFormat};
use crate::sae::path_names::names;
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat { name: "OpenAI", layout: None, claims, open };

const ACTIVATION: &str = "activation";
const ACTIVATION_STATE: &str = "activation_state_dict";

/// Statistics of training.
const STATISTICS: [&str; 3] =
    ["stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"];

fn claims(file: &TensorFile) -> Claim {
    let names = ["pre_bias", "latent_bias", "encoder.weight"];
    Claim::evidence(file.is_pt() && names.iter().all(|name| file.info(name).is_ok()))
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let [d_sae, d_in] = file.matrix_shape("encoder.weight")?;
    let (architecture, normalization) = kind(&file)?;
    let config = SaeConfig::new(d_in, d_sae, architecture)
        .and_then(|config| config.with_normalization(normalization))
        .and_then(|config| config.with_apply_b_dec_to_input(true))
        .map_err(|source| SaeFileError::Sae { path: file.path().to_owned(), source })?;
    // A tied decoder is the encoder's layer, which has one row per feature.
    let w_dec = match file.info("decoder.linear.weight") {
        Ok(_) => StoredWeight::tensor("decoder.linear.weight"),
        Err(_) => StoredWeight::transposed("decoder.weight"),
    };
    let weights = vec![
        (Weight::WEnc, StoredWeight::transposed("encoder.weight")),
        (Weight::BEnc, StoredWeight::tensor("latent_bias")),
        (Weight::WDec, w_dec),
        (Weight::BDec, StoredWeight::tensor("pre_bias")),
    ];
    let hooks = hooks(file.path());
    let description = [ACTIVATION, ACTIVATION_STATE]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), json::from_pickle(file.value(key)?))));
    let description = Some(description.collect::<serde_json::Map<_, _>>().into());
    SaeFile {
        hooks,
        weights,
        description,
        ignored: &STATISTICS,
        ..SaeFile::new(file, FORMAT.name, config)
    }
    .checked()
}

/// Returns the architecture and normalisation. Only top-k SAEs normalise; the reference, too, infers
/// this from the activation.
fn kind(file: &TensorFile) -> Result<(Architecture, Normalization), CheckpointError> {
    let unknown = |key, found: String, known| CheckpointError::UnknownValue {
        path: file.path().to_owned(),
        key,
        found,
        known,
    };
    match file.value(ACTIVATION) {
        // The first files leave it out.
        None => Ok((Architecture::Relu, Normalization::None)),
        Some(PlainValue::Text(name)) if name == "ReLU" => {
            Ok((Architecture::Relu, Normalization::None))
        }
        Some(PlainValue::Text(name)) if name == "TopK" => {
            let state = match file.value(ACTIVATION_STATE) {
                Some(PlainValue::Dict(state)) => Some(state),
                _ => None,
            };
            let k = match state.and_then(|state| state.get("k")) {
                Some(PlainValue::Int(k)) => usize::try_from(*k).unwrap_or(0),
                _ => {
                    let (path, key) = (file.path().to_owned(), "activation_state_dict.k");
                    return Err(CheckpointError::MissingKey { path, key });
                }
            };
            let architecture = match state.and_then(|state| state.get("postact_fn")) {
                None => Architecture::TopK { k, rescale_acts_by_decoder_norm: false },
                Some(PlainValue::Text(name)) if name == "ReLU" => {
                    Architecture::TopK { k, rescale_acts_by_decoder_norm: false }
                }
                Some(PlainValue::Text(name)) if name == "Identity" => {
                    Architecture::SignedTopK { k }
                }
                Some(other) => {
                    let found = json::from_pickle(other).to_string();
                    return Err(unknown("postact_fn", found, "ReLU, Identity"));
                }
            };
            Ok((architecture, Normalization::LayerNorm))
        }
        Some(other) => Err(unknown(ACTIVATION, json::from_pickle(other).to_string(), "ReLU, TopK")),
    }
}

/// Locations, and the hook points that they stand for.
const LOCATIONS: [(&str, &str); 5] = [
    ("mlp_post_act", "mlp.hook_post"),
    ("resid_delta_attn", "hook_attn_out"),
    ("resid_post_attn", "hook_resid_mid"),
    ("resid_delta_mlp", "hook_mlp_out"),
    ("resid_post_mlp", "hook_resid_post"),
];

/// Returns the hooks that a path `{location}[_version]/autoencoders/{layer}.pt` implies, if any.
fn hooks(path: &Path) -> SaeHooks {
    let names = names(path);
    let layer = names.first().and_then(|name| name.strip_suffix(".pt")?.parse::<usize>().ok());
    let is = |folder: &str, location: &str| {
        folder.strip_prefix(location).is_some_and(|rest| rest.is_empty() || rest.starts_with("_v"))
    };
    let folder = names.iter().skip(1).find(|name| *name != "autoencoders");
    let hook = LOCATIONS
        .iter()
        .find(|(location, _)| folder.is_some_and(|folder| is(folder, location)))
        .map(|(_, hook)| hook);
    match (layer, hook) {
        (Some(layer), Some(hook)) => SaeHooks::at(format!("blocks.{layer}.{hook}")),
        _ => SaeHooks::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_placed_in_every_version() {
        for (path, expected) in [
            ("resid_post_mlp/autoencoders/8.pt", "blocks.8.hook_resid_post"),
            ("resid_delta_mlp_v4/autoencoders/3.pt", "blocks.3.hook_mlp_out"),
            ("resid_post_attn_v5_128k/autoencoders/0.pt", "blocks.0.hook_resid_mid"),
            ("resid_delta_attn_v5_32k/autoencoders/1.pt", "blocks.1.hook_attn_out"),
            ("mlp_post_act/autoencoders/11.pt", "blocks.11.mlp.hook_post"),
        ] {
            assert_eq!(hooks(Path::new(path)), SaeHooks::at(expected), "{path}");
        }
        assert_eq!(hooks(Path::new("resid_post_mlp/autoencoders/last.pt")), SaeHooks::default());
        assert_eq!(hooks(Path::new("somewhere/8.pt")), SaeHooks::default());
        assert_eq!(hooks(Path::new("resid_post_mlp/mine/8.pt")), SaeHooks::default());
    }
}
