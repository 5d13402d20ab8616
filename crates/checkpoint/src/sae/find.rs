//! Finds SAEs in folders, by the names that the tools give their files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::read::entries;
use crate::sae::formats::{
    circuit_tracer, dictionary_learning, gemma_scope, gemma_scope_2, llama_scope, saelens, sparsify,
};
use crate::sae::load::is_sae;

/// Folders deeper than this below the one given are not searched.
const DEEPEST: usize = 16;

/// The folder in which nanochat-SAE prepares an SAE for Neuronpedia.
const UPLOAD_DIR: &str = "neuronpedia_upload";

/// The SAE files at `path`, in order of name.
pub(crate) fn find_saes(path: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let metadata = fs::metadata(path).map_err(|source| CheckpointError::io(path, source))?;
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut visited = BTreeSet::new();
    search(path, 0, &mut visited, &mut found)?;
    Ok(found)
}

fn search(
    dir: &Path,
    depth: usize,
    visited: &mut BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), CheckpointError> {
    // A link back to a folder above would go round for ever.
    let real = fs::canonicalize(dir).map_err(|source| CheckpointError::io(dir, source))?;
    if depth > DEEPEST || !visited.insert(real) {
        return Ok(());
    }
    let paths = entries(dir)?;
    let chosen = choose(&paths)?;
    // What lies there are earlier stages of what was chosen, or itself.
    let is_stages = |path: &Path| !chosen.is_empty() && is_named(path, CHECKPOINTS_DIR);
    // nanochat-SAE's trainer leaves a second copy there, without its configuration.
    let is_copy = |path: &Path| is_named(path, UPLOAD_DIR);
    let inner = paths.iter().filter(|path| path.is_dir() && !is_copy(path) && !is_stages(path));
    found.extend(chosen.iter().cloned());
    for path in inner {
        search(path, depth + 1, visited, found)?;
    }
    Ok(())
}

/// dictionary_learning's folder of stages, and Llama Scope's of weights.
const CHECKPOINTS_DIR: &str = dictionary_learning::CHECKPOINTS_DIR;

fn name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn is_named(path: &Path, wanted: &str) -> bool {
    name(path) == Some(wanted)
}

/// The files to take of those in one folder.
fn choose(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CheckpointError> {
    let named = |wanted| paths.iter().find(|path| is_named(path, wanted) && path.is_file());
    let latest = |step: fn(&str) -> Option<u64>| {
        let steps = paths.iter().filter_map(|path| Some((step(name(path)?)?, path)));
        steps.max().map(|(_, path)| path)
    };
    let one = named("best_model.pt")
        .or_else(|| latest(step))
        .or_else(|| named("sae_final.pt"))
        .or_else(|| named(saelens::WEIGHTS_FILE))
        .or_else(|| named(gemma_scope::WEIGHTS_FILE))
        .or_else(|| named(gemma_scope_2::WEIGHTS_FILE))
        .or_else(|| named(sparsify::WEIGHTS_FILE))
        .or_else(|| named(dictionary_learning::WEIGHTS_FILE))
        .or_else(|| latest(dictionary_learning::step));
    if let Some(path) = one {
        return Ok(vec![path.clone()]);
    }
    if let Some(hyperparams) = named(llama_scope::HYPERPARAMS_FILE) {
        let weights = hyperparams
            .with_file_name(llama_scope::CHECKPOINTS_DIR)
            .join(llama_scope::WEIGHTS_FILE);
        if weights.is_file() {
            return Ok(vec![weights]);
        }
    }
    if named(circuit_tracer::CONFIG_FILE).is_some() {
        let of = |is: fn(&str) -> bool| paths.iter().filter(move |path| name(path).is_some_and(is));
        let mut layers: Vec<_> = of(|name| circuit_tracer::layer(name).is_some()).collect();
        layers.sort_by_key(|path| name(path).and_then(circuit_tracer::layer));
        // One of its files is enough for it to be refused by name.
        layers.extend(of(circuit_tracer::is_cross_layer).take(1));
        if !layers.is_empty() {
            return Ok(layers.into_iter().cloned().collect());
        }
    }
    let mut others = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let is_taken = match path.extension().and_then(|end| end.to_str()) {
            Some("pt" | "pth") => !is_of_training(path),
            // Models have such files as well.
            Some("safetensors" | "npz") => is_sae(&TensorFile::open(path)?),
            _ => false,
        };
        if is_taken {
            others.push(path.clone());
        }
    }
    Ok(others)
}

/// The step of nanochat-SAE's checkpoint of that name.
fn step(name: &str) -> Option<u64> {
    name.strip_prefix("checkpoint_step")?.strip_suffix(".pt")?.parse().ok()
}

/// Whether the file has what training goes on from, beside SAEs of sparsify's or SAELens's.
fn is_of_training(path: &Path) -> bool {
    name(path).is_some_and(|name| {
        name.starts_with("optimizer")
            || name.starts_with("lr_scheduler")
            || name.ends_with("state.pt")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a folder of empty files of these names, by its path there.
    fn chosen(names: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        let found = find_saes(dir.path()).unwrap();
        let inside = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().to_owned();
        found.iter().map(|path| inside(path).to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn one_file_is_taken_of_a_training_and_the_highest_step_by_number() {
        let steps = ["checkpoint_step9.pt", "checkpoint_step10.pt", "sae_final.pt", "config.json"];

        assert_eq!(chosen(&steps), ["checkpoint_step10.pt"]);
        assert_eq!(chosen(&["best_model.pt", "checkpoint_step10.pt"]), ["best_model.pt"]);
        assert_eq!(chosen(&["sae_final.pt", "other.pt"]), ["sae_final.pt"]);
        assert_eq!(chosen(&["b.pt", "a.pt", "notes.txt"]), ["a.pt", "b.pt"]);
    }

    #[test]
    fn the_layout_of_each_tool_is_known() {
        let trained = ["trainer_0/ae.pt", "trainer_0/checkpoints/ae_9.pt", "trainer_0/config.json"];
        assert_eq!(chosen(&trained), ["trainer_0/ae.pt"]);
        assert_eq!(
            chosen(&["checkpoints/ae_9.pt", "checkpoints/ae_10.pt"]),
            ["checkpoints/ae_10.pt"]
        );
        let run = ["config.json", "optimizer_0.pt", "state.pt", "layers.1/sae.safetensors"];
        assert_eq!(chosen(&run), ["layers.1/sae.safetensors"]);
        let scope = ["L15R/hyperparams.json", "L15R/checkpoints/final.safetensors"];
        assert_eq!(chosen(&scope), ["L15R/checkpoints/final.safetensors"]);
        let set = ["config.yaml", "layer_10.safetensors", "layer_9.safetensors"];
        assert_eq!(chosen(&set), ["layer_9.safetensors", "layer_10.safetensors"]);
        let cross = ["config.yaml", "W_enc_0.safetensors", "W_enc_1.safetensors"];
        assert_eq!(chosen(&cross), ["W_enc_0.safetensors"]);
        let layers = ["layer_1/width_16k/average_l0_71/params.npz", "layer_2/a/params.safetensors"];
        assert_eq!(chosen(&layers), layers);
        assert_eq!(chosen(&["layer3.sae.pt", "x-l19.pth"]), ["layer3.sae.pt", "x-l19.pth"]);
    }

    #[test]
    fn safetensors_of_something_else_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let empty =
            safetensors::serialize::<&str, safetensors::tensor::TensorView<'_>, _>([], None);
        fs::write(dir.path().join("model.safetensors"), empty.unwrap()).unwrap();
        fs::write(dir.path().join("layer3.sae.pt"), b"").unwrap();

        assert_eq!(find_saes(dir.path()).unwrap(), [dir.path().join("layer3.sae.pt")]);
    }

    #[test]
    fn the_copy_that_nanochat_sae_prepares_for_upload_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(UPLOAD_DIR)).unwrap();
        fs::write(dir.path().join(UPLOAD_DIR).join("sae_weights.pt"), b"").unwrap();
        fs::write(dir.path().join("sae_final.pt"), b"").unwrap();

        assert_eq!(find_saes(dir.path()).unwrap(), [dir.path().join("sae_final.pt")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_back_to_the_folder_does_not_go_round_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("layer_0")).unwrap();
        fs::write(dir.path().join("layer_0/best_model.pt"), b"").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("layer_0/again")).unwrap();

        assert_eq!(find_saes(dir.path()).unwrap().len(), 1);
    }
}
