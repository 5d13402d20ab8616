//! Gemma Scope: `layer_20/width_16k/average_l0_71/params.npz` in a repository named after its site.

use nanoscope_sae::{Architecture, SaeConfig};

use crate::container::{Order, TensorFile, npz};
use crate::error::{CheckpointError, SaeFileError};
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat, file_name};
use crate::sae::path_names::names;
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight, usual_weights};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "Gemma Scope",
    layout: Some(Layout::new(WEIGHTS_FILE, |folder| folder.files(WEIGHTS_FILE))),
    claims,
    open,
};

const WEIGHTS_FILE: &str = "params.npz";

/// Claims the five arrays, under any file name. Under the tool's file name the encoder is enough.
fn claims(file: &TensorFile) -> Claim {
    if file.format() != npz::FORMAT {
        return Claim::None;
    }
    let has = |name: &str| file.tensors().any(|(found, _)| found.eq_ignore_ascii_case(name));
    let has_all = ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"].into_iter().all(has);
    Claim::evidence(has_all || has("W_enc") && file_name(file.path()) == Some(WEIGHTS_FILE))
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
        .map_err(|source| SaeFileError::Sae { path: file.path().to_owned(), source })?;

    let mut weights = usual_weights();
    weights[0] = (Weight::WEnc, StoredWeight::tensor(w_enc));
    weights[2] = (Weight::WDec, StoredWeight::tensor(w_dec));
    weights.push((Weight::Threshold, StoredWeight::tensor("threshold")));
    let site = site(&names);
    let hooks = site.as_ref().map_or_else(SaeHooks::default, |site| hooks(site, &names));
    let ignored: &[_] = if scales_by_one(&file, d_sae)? { &[SCALING_FACTOR] } else { &[] };
    let sae = SaeFile { hooks, weights, ignored, ..SaeFile::new(file, FORMAT.name, config) };
    // Trained on embeddings multiplied by √d, as Gemma's first block reads them; the hook point comes
    // before that multiplication.
    let scale = (d_in as f32).sqrt();
    match site {
        Some(Site::Embedding) => sae.scaled_for_embedding(scale),
        Some(Site::Layer(_)) => sae,
        None => SaeFile { embedding_scale: Some(scale), ..sae },
    }
    .checked()
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

/// The part of the model that an SAE belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Embedding,
    Layer(usize),
}

/// Returns the site that the file's own folder is named after: the innermost one that is not named
/// after a size.
fn site(names: &[String]) -> Option<Site> {
    let is_size = |name: &str| {
        name.starts_with("width_") || name.starts_with("average_l0_") || name == "canonical"
    };
    let site = names.iter().skip(1).find(|name| !is_size(name))?;
    if site == "embedding" {
        return Some(Site::Embedding);
    }
    site.strip_prefix("layer_")?.parse().ok().map(Site::Layer)
}

/// Returns the hooks that the site and the name of the repository imply, if any.
fn hooks(site: &Site, names: &[String]) -> SaeHooks {
    let layer = match site {
        Site::Embedding => return SaeHooks::at("hook_embed"),
        Site::Layer(layer) => layer,
    };
    let Some(repository) = names.iter().find(|name| name.contains("gemma-scope")) else {
        return SaeHooks::default();
    };
    let repository = repository.strip_suffix("-canonical").unwrap_or(repository);
    let is = |site| repository.rsplit('-').next() == Some(site);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_site_is_named_by_the_file_s_own_folder_and_not_by_one_above() {
        let res = "gemma-scope-2b-pt-res";
        for (path, expected) in [
            (format!("{res}/layer_20/width_16k/average_l0_71"), Some(Site::Layer(20))),
            (format!("{res}/embedding/width_4k/average_l0_6"), Some(Site::Embedding)),
            (format!("embedding/{res}/layer_20/width_16k/canonical"), Some(Site::Layer(20))),
            ("embedding/layer_20".to_owned(), Some(Site::Layer(20))),
            ("embedding/saes/width_16k".to_owned(), None),
            ("layer_3/embedding/width_4k/average_l0_6".to_owned(), Some(Site::Embedding)),
            ("layer_3/mine".to_owned(), None),
            ("embedding".to_owned(), Some(Site::Embedding)),
            ("my-embedding".to_owned(), None),
        ] {
            let names = names(&Path::new("/data").join(&path).join(WEIGHTS_FILE));
            assert_eq!(site(&names), expected, "{path}");
        }
    }
}
