//! Goodfire's `Llama-3.1-8B-Instruct-SAE-l19.pth`, and similar files by qresearch.

use std::path::Path;

use nanoscope_sae::{Architecture, SaeConfig};

use crate::container::TensorFile;
use crate::error::{CheckpointError, SaeFileError};
use crate::sae::formats::sae_format::{Claim, SaeFormat, file_name};
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::linear_weights;

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat { name: "Goodfire", layout: None, claims, open };

/// The names of the two linear layers in Goodfire's and qresearch's files.
const LAYERS: [(&str, &str); 2] = [("encoder_linear", "decoder_linear"), ("encoder", "decoder")];

/// The part of a file's name before its layer.
const BEFORE_LAYER: &str = "-SAE-l";

fn layers(file: &TensorFile) -> Option<(&'static str, &'static str)> {
    let has = |layer: &str| {
        file.info(&format!("{layer}.weight")).is_ok() && file.info(&format!("{layer}.bias")).is_ok()
    };
    LAYERS.into_iter().find(|(encoder, decoder)| has(encoder) && has(decoder))
}

/// Two linear layers alone are those of any autoencoder: only the file's name identifies it.
fn claims(file: &TensorFile) -> Claim {
    if !file.is_pt() || layers(file).is_none() {
        return Claim::None;
    }
    if layer(file.path()).is_some() {
        return Claim::Evidence;
    }
    let has_only_these = file.tensors().count() == 4;
    if has_only_these { Claim::Guess } else { Claim::None }
}

/// Parses the layer in a file's name, `Llama-3.1-8B-Instruct-SAE-l19.pth`.
fn layer(path: &Path) -> Option<usize> {
    let (stem, _) = file_name(path)?.rsplit_once('.')?;
    let (_, layer) = stem.rsplit_once(BEFORE_LAYER)?;
    layer.parse().ok()
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let (encoder, decoder) = layers(&file).expect("only claimed files are opened");
    let [d_sae, d_in] = file.matrix_shape(&format!("{encoder}.weight"))?;
    let config = SaeConfig::new(d_in, d_sae, Architecture::Relu)
        .map_err(|source| SaeFileError::Sae { path: file.path().to_owned(), source })?;
    let hooks = match layer(file.path()) {
        Some(layer) => SaeHooks::at(format!("blocks.{layer}.hook_resid_post")),
        None => SaeHooks::default(),
    };
    let weights = linear_weights(encoder, decoder);
    SaeFile { hooks, weights, ..SaeFile::new(file, FORMAT.name, config) }.checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tool_s_own_file_names_have_a_layer() {
        for (name, expected) in [
            ("Llama-3.1-8B-Instruct-SAE-l19.pth", Some(19)),
            ("DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", Some(19)),
            ("my-l7.pt", None),
            ("SAE-l7.pt", None),
            ("x-SAE-l2-normalised.pt", None),
            ("x-SAE-l.pt", None),
            ("vae.pt", None),
        ] {
            assert_eq!(layer(Path::new(name)), expected, "{name}");
        }
    }
}
