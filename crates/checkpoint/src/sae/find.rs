//! Finding SAEs in folders, by the file names of each tool.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::read::entries;
use crate::sae::formats::{Folder, file_name, is_sae, layouts};

/// Maximum depth of the folders that are searched.
const MAX_DEPTH: usize = 16;

/// Returns the SAE files at `path`, in order of name.
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
    // A link to a folder above would otherwise never end.
    let real = fs::canonicalize(dir).map_err(|source| CheckpointError::io(dir, source))?;
    if depth > MAX_DEPTH || !visited.insert(real) {
        return Ok(());
    }
    let paths = entries(dir)?;
    let chosen = choose(&paths)?;
    let is_skipped = |path: &Path| {
        let name = file_name(path);
        name.is_some()
            && layouts().any(|layout| {
                // Its files are earlier stages of the chosen one, or the chosen one itself.
                let is_chosen_before = !chosen.is_empty() && layout.weights_dir == name;
                is_chosen_before || layout.copies_dir == name
            })
    };
    let inner = paths.iter().filter(|path| path.is_dir() && !is_skipped(path));
    found.extend(chosen.iter().cloned());
    for path in inner {
        search(path, depth + 1, visited, found)?;
    }
    Ok(())
}

/// Chooses the SAE files among the paths of one folder.
fn choose(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CheckpointError> {
    let folder = Folder { paths };
    let chosen = layouts().map(|layout| (layout.files)(&folder)).find(|files| !files.is_empty());
    if let Some(files) = chosen {
        return Ok(files);
    }
    let mut others = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let is_chosen = match path.extension().and_then(|end| end.to_str()) {
            Some("pt" | "pth") => !is_training_state(path),
            // Models have files with these extensions, too.
            Some("safetensors" | "npz") => is_sae(&TensorFile::open(path)?),
            _ => false,
        };
        if is_chosen {
            others.push(path.clone());
        }
    }
    Ok(others)
}

/// Returns whether the file has the state of a training run, as beside SAEs by sparsify or SAELens.
fn is_training_state(path: &Path) -> bool {
    file_name(path).is_some_and(|name| {
        name.starts_with("optimizer")
            || name.starts_with("lr_scheduler")
            || name.ends_with("state.pt")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the files found in a folder of empty files of these names, relative to the folder.
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
    fn safetensors_files_without_an_sae_are_skipped() {
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
        fs::create_dir(dir.path().join("neuronpedia_upload")).unwrap();
        fs::write(dir.path().join("neuronpedia_upload").join("sae_weights.pt"), b"").unwrap();
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
