//! Gemma Scope: `layer_20/width_16k/average_l0_71/params.npz` in a repository named for its site.

use nanoscope_sae::{Architecture, SaeConfig};

use crate::container::{Order, TensorFile};
use crate::error::CheckpointError;
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::{Place, SaeFile, Source, Weight};

pub(crate) const WEIGHTS_FILE: &str = "params.npz";

/// Whether `file` is of this format: the only one with arrays of numpy's.
pub(crate) fn claims(file: &TensorFile) -> bool {
    file.format() == crate::container::npz::FORMAT
        && file.tensors().any(|(name, _)| name.eq_ignore_ascii_case("W_enc"))
}

pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let names = names(file.path());
    // Some files begin their matrices' names with a small letter, which SAELens takes as well.
    let key = |large: &str, small: &str| {
        let key = if file.info(large).is_err() && file.info(small).is_ok() { small } else { large };
        key.to_owned()
    };
    let (w_enc, w_dec) = (key("W_enc", "w_enc"), key("W_dec", "w_dec"));
    let [d_in, d_sae] = file.matrix_shape(&w_enc)?;
    let config = SaeConfig::new(d_in, d_sae, Architecture::JumpRelu)
        .map_err(|source| CheckpointError::Sae { path: file.path().to_owned(), source })?;

    // Trained on embeddings times √d, as Gemma's first block reads them; the hook point is before.
    let is_embedding = names.iter().any(|name| name == "embedding");
    let times = if is_embedding { (d_in as f32).sqrt() } else { 1.0 };
    let matrix = |name, times| Source::Tensor { name, order: Order::AsStored, times };
    let sources = vec![
        (Weight::WEnc, matrix(w_enc, 1.0 / times)),
        (Weight::BEnc, Source::tensor("b_enc")),
        (Weight::WDec, matrix(w_dec, times)),
        (Weight::BDec, Source::tensor("b_dec")),
        (Weight::Threshold, Source::tensor("threshold")),
    ];
    let place = if is_embedding { Place::at("hook_embed") } else { place(&names) };
    SaeFile { place, sources, ..SaeFile::of(file, "Gemma Scope", config) }.checked()
}

/// Where in a model the folders say it belongs; nowhere if they do not.
fn place(names: &[String]) -> Place {
    let layer = names.iter().find_map(|name| number_after(name, "layer_"));
    let repository = names.iter().find(|name| name.contains("gemma-scope"));
    let (Some(layer), Some(repository)) = (layer, repository) else {
        return Place::default();
    };
    let is = |site| repository.split('-').any(|part| part == site);
    if is("transcoders") {
        Place::between(
            format!("blocks.{layer}.ln2.hook_normalized"),
            format!("blocks.{layer}.hook_mlp_out"),
        )
    } else if is("res") {
        Place::at(format!("blocks.{layer}.hook_resid_post"))
    } else if is("mlp") {
        Place::at(format!("blocks.{layer}.hook_mlp_out"))
    } else if is("att") {
        Place::at(format!("blocks.{layer}.attn.hook_z"))
    } else {
        Place::default()
    }
}
