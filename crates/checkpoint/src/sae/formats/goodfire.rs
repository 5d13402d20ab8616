//! Goodfire's `Llama-3.1-8B-Instruct-SAE-l19.pth`, and those like it of qresearch.

use nanoscope_sae::{Architecture, SaeConfig};

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::{Place, SaeFile, linear_sources};

/// The names of the two linear layers, of Goodfire and of qresearch.
const LAYERS: [(&str, &str); 2] = [("encoder_linear", "decoder_linear"), ("encoder", "decoder")];

fn layers(file: &TensorFile) -> Option<(&'static str, &'static str)> {
    let has = |layer: &str| {
        file.info(&format!("{layer}.weight")).is_ok() && file.info(&format!("{layer}.bias")).is_ok()
    };
    LAYERS.into_iter().find(|(encoder, decoder)| has(encoder) && has(decoder))
}

/// Whether `file` is of this format: two linear layers, each with a bias, and nothing that says
/// more of them.
pub(crate) fn claims(file: &TensorFile) -> bool {
    file.is_pt() && layers(file).is_some()
}

pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let (encoder, decoder) = layers(&file).expect("what is opened was claimed");
    let [d_sae, d_in] = file.matrix_shape(&format!("{encoder}.weight"))?;
    let config = SaeConfig::new(d_in, d_sae, Architecture::Relu)
        .map_err(|source| CheckpointError::Sae { path: file.path().to_owned(), source })?;
    let layer = names(file.path()).first().and_then(|name| number_after(name, "l"));
    let place = match layer {
        Some(layer) => Place::at(format!("blocks.{layer}.hook_resid_post")),
        None => Place::default(),
    };
    let sources = linear_sources(encoder, decoder);
    SaeFile { place, sources, ..SaeFile::of(file, "Goodfire", config) }.checked()
}
