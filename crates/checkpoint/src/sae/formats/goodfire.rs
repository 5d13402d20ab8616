//! Goodfire's `Llama-3.1-8B-Instruct-SAE-l19.pth`, and similar files by qresearch.

use nanoscope_sae::{Architecture, SaeConfig};

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::sae::formats::sae_format::{Claim, SaeFormat};
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::linear_weights;

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat { name: "Goodfire", layout: None, claims, open };

/// The names of the two linear layers in Goodfire's and qresearch's files.
const LAYERS: [(&str, &str); 2] = [("encoder_linear", "decoder_linear"), ("encoder", "decoder")];

fn layers(file: &TensorFile) -> Option<(&'static str, &'static str)> {
    let has = |layer: &str| {
        file.info(&format!("{layer}.weight")).is_ok() && file.info(&format!("{layer}.bias")).is_ok()
    };
    LAYERS.into_iter().find(|(encoder, decoder)| has(encoder) && has(decoder))
}

/// Claims files with two linear layers, each with a bias.
fn claims(file: &TensorFile) -> Claim {
    Claim::by_tensors(file.is_pt() && layers(file).is_some())
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let (encoder, decoder) = layers(&file).expect("only claimed files are opened");
    let [d_sae, d_in] = file.matrix_shape(&format!("{encoder}.weight"))?;
    let config = SaeConfig::new(d_in, d_sae, Architecture::Relu)
        .map_err(|source| CheckpointError::Sae { path: file.path().to_owned(), source })?;
    let layer = names(file.path()).first().and_then(|name| number_after(name, "l"));
    let hooks = match layer {
        Some(layer) => SaeHooks::at(format!("blocks.{layer}.hook_resid_post")),
        None => SaeHooks::default(),
    };
    let weights = linear_weights(encoder, decoder);
    SaeFile { hooks, weights, ..SaeFile::new(file, FORMAT.name, config) }.checked()
}
