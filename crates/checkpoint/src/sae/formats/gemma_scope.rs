//! Gemma Scope: `layer_20/width_16k/average_l0_71/params.npz` in a repository named after its site.

use nanoscope_sae::{Architecture, SaeConfig};

use crate::container::{Order, TensorFile, npz};
use crate::error::CheckpointError;
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat};
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "Gemma Scope",
    layout: Some(Layout::new(WEIGHTS_FILE, |folder| folder.files(WEIGHTS_FILE))),
    claims,
    open,
};

const WEIGHTS_FILE: &str = "params.npz";

/// This is the only format of numpy arrays.
fn claims(file: &TensorFile) -> Claim {
    Claim::by_tensors(
        file.format() == npz::FORMAT
            && file.tensors().any(|(name, _)| name.eq_ignore_ascii_case("W_enc")),
    )
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let names = names(file.path());
    // Some files have matrix names in lower case, which SAELens accepts, too.
    let key = |upper: &str, lower: &str| {
        let key = if file.info(upper).is_err() && file.info(lower).is_ok() { lower } else { upper };
        key.to_owned()
    };
    let (w_enc, w_dec) = (key("W_enc", "w_enc"), key("W_dec", "w_dec"));
    let [d_in, d_sae] = file.matrix_shape(&w_enc)?;
    let config = SaeConfig::new(d_in, d_sae, Architecture::JumpRelu)
        .map_err(|source| CheckpointError::Sae { path: file.path().to_owned(), source })?;

    // Trained on embeddings multiplied by √d, as Gemma's first block reads them; the hook point comes
    // before that multiplication.
    let is_embedding = names.iter().any(|name| name == "embedding");
    let times = if is_embedding { (d_in as f32).sqrt() } else { 1.0 };
    let matrix = |name, times| StoredWeight::Tensor { name, order: Order::AsStored, times };
    let weights = vec![
        (Weight::WEnc, matrix(w_enc, 1.0 / times)),
        (Weight::BEnc, StoredWeight::tensor("b_enc")),
        (Weight::WDec, matrix(w_dec, times)),
        (Weight::BDec, StoredWeight::tensor("b_dec")),
        (Weight::Threshold, StoredWeight::tensor("threshold")),
    ];
    let hooks = if is_embedding { SaeHooks::at("hook_embed") } else { hooks(&names) };
    let ignored: &[_] = if scales_by_one(&file, d_sae)? { &[SCALING_FACTOR] } else { &[] };
    SaeFile { hooks, weights, ignored, ..SaeFile::new(file, FORMAT.name, config) }.checked()
}

/// A tensor with one scale per feature, from SAELens's fine-tuning.
const SCALING_FACTOR: &str = "scaling_factor";

/// Returns whether there is a `scaling_factor` that has no effect. Others are refused as tensors that
/// are not ours, as in SAELens: only a configuration says how they are used.
fn scales_by_one(file: &TensorFile, d_sae: usize) -> Result<bool, CheckpointError> {
    match file.info(SCALING_FACTOR) {
        Err(CheckpointError::MissingTensor { .. }) => return Ok(false),
        other => drop(other?),
    }
    let data = file.read(SCALING_FACTOR, &[d_sae], Order::AsStored)?;
    Ok(data.iter::<f32>().all(|scale| (scale - 1.0).abs() <= 1e-5))
}

/// Returns the hooks that the names of the folders imply, if any.
fn hooks(names: &[String]) -> SaeHooks {
    let layer = names.iter().find_map(|name| number_after(name, "layer_"));
    let repository = names.iter().find(|name| name.contains("gemma-scope"));
    let (Some(layer), Some(repository)) = (layer, repository) else {
        return SaeHooks::default();
    };
    let is = |site| repository.split('-').any(|part| part == site);
    if is("transcoders") {
        SaeHooks::between(
            format!("blocks.{layer}.ln2.hook_normalized"),
            format!("blocks.{layer}.hook_mlp_out"),
        )
    } else if is("res") {
        SaeHooks::at(format!("blocks.{layer}.hook_resid_post"))
    } else if is("mlp") {
        SaeHooks::at(format!("blocks.{layer}.hook_mlp_out"))
    } else if is("att") {
        SaeHooks::at(format!("blocks.{layer}.attn.hook_z"))
    } else {
        SaeHooks::default()
    }
}
