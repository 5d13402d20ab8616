//! Finding SAEs in folders, by the file names of each tool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::files;
use crate::hub;
use crate::read::entries;
use crate::sae::formats::{Folder, SaeFormatName, file_name, is_sae, layouts, unwrapped};

/// Maximum depth of the folders that are searched.
const MAX_DEPTH: usize = 16;

/// Maximum number of times that a folder is searched again under another name, by links to it.
const MAX_SEARCHED_AGAIN: usize = 1024;

/// Returns the SAE files at `path`, in order of name. A file that only a person can recognise counts if
/// it can have the `stated` format.
pub(crate) fn find_saes(
    path: &Path,
    stated: Option<SaeFormatName>,
) -> Result<Vec<PathBuf>, CheckpointError> {
    let path = &hub::resolve(path)?;
    let metadata = files::metadata(path).map_err(|source| CheckpointError::io(path, source))?;
    if metadata.is_file {
        return Ok(vec![path.to_owned()]);
    }
    let mut search = Search { stated, ..Search::default() };
    search.search(path)?;
    match search.unread {
        Some(error) if search.found.is_empty() => Err(error),
        _ => Ok(search.found),
    }
}

/// A search through folders.
#[derive(Default)]
struct Search {
    stated: Option<SaeFormatName>,
    found: Vec<PathBuf>,
    /// The folder that is searched and those above it, without links.
    above: Vec<PathBuf>,
    /// All folders that were searched, without links.
    visited: BTreeSet<PathBuf>,
    searched_again: usize,
    /// The error of a file that could have been an SAE.
    unread: Option<CheckpointError>,
}

impl Search {
    fn search(&mut self, dir: &Path) -> Result<(), CheckpointError> {
        let real = files::canonicalize(dir).map_err(|source| CheckpointError::io(dir, source))?;
        // A link to a folder above would otherwise never end.
        if self.above.len() > MAX_DEPTH || self.above.contains(&real) {
            return Ok(());
        }
        // An SAE can be at another hook point under another name.
        if !self.visited.insert(real.clone()) {
            self.searched_again += 1;
            if self.searched_again > MAX_SEARCHED_AGAIN {
                let what = format!("a folder with more than {MAX_SEARCHED_AGAIN} links to folders");
                return Err(CheckpointError::Unsupported { path: dir.to_owned(), what });
            }
        }
        let paths = entries(dir)?;
        let chosen = self.choose(&paths)?;
        let is_skipped = |path: &Path| {
            // Its files are earlier stages or copies of the chosen one, or the chosen one itself.
            let name = file_name(path);
            let dirs = layouts().flat_map(|layout| [layout.weights_dir, layout.copies_dir]);
            name.is_some() && !chosen.is_empty() && dirs.into_iter().any(|dir| dir == name)
        };
        let inner: Vec<_> =
            paths.iter().filter(|path| files::is_dir(path) && !is_skipped(path)).collect();
        self.found.extend(chosen.iter().cloned());
        self.above.push(real);
        for path in inner {
            self.search(path)?;
        }
        self.above.pop();
        Ok(())
    }

    /// Chooses the SAE files among the paths of one folder.
    fn choose(&mut self, paths: &[PathBuf]) -> Result<Vec<PathBuf>, CheckpointError> {
        let folder = Folder { paths };
        let chosen =
            layouts().map(|layout| (layout.files)(&folder)).find(|files| !files.is_empty());
        if let Some(files) = chosen {
            return Ok(files);
        }
        let mut others = Vec::new();
        for path in paths.iter().filter(|path| files::is_file(path)) {
            let end = path.extension().and_then(|end| end.to_str()).map(str::to_lowercase);
            let is_chosen = match end.as_deref() {
                Some("pt" | "pth") => !is_training_state(path),
                // Models have files with these extensions, too.
                Some("safetensors" | "npz") => self.has_sae(path)?,
                // So has anything else.
                Some("bin" | "ckpt") => self.has_sae(path).unwrap_or_else(|error| {
                    self.unread.get_or_insert(error);
                    false
                }),
                _ => false,
            };
            if is_chosen {
                others.push(path.clone());
            }
        }
        Ok(others)
    }

    fn has_sae(&self, path: &Path) -> Result<bool, CheckpointError> {
        let (file, _) = unwrapped(TensorFile::open(path)?);
        Ok(is_sae(&file, self.stated))
    }
}

/// Returns whether the file has the state of a training run, as beside SAEs by sparsify or SAELens.
fn is_training_state(path: &Path) -> bool {
    file_name(path).is_some_and(|name| {
        name.starts_with("optimizer")
            || name.starts_with("lr_scheduler")
            || name.to_lowercase().ends_with("state.pt")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Returns the files found in a folder of empty files of these names, relative to the folder.
    fn chosen(names: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        let found = find_saes(dir.path(), None).unwrap();
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

        assert_eq!(find_saes(dir.path(), None).unwrap(), [dir.path().join("layer3.sae.pt")]);
    }

    #[test]
    fn the_copy_that_nanochat_sae_prepares_for_upload_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("neuronpedia_upload")).unwrap();
        fs::write(dir.path().join("neuronpedia_upload").join("sae_weights.pt"), b"").unwrap();
        fs::write(dir.path().join("sae_final.pt"), b"").unwrap();

        assert_eq!(find_saes(dir.path(), None).unwrap(), [dir.path().join("sae_final.pt")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_back_to_the_folder_does_not_go_round_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("layer_0")).unwrap();
        fs::write(dir.path().join("layer_0/best_model.pt"), b"").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("layer_0/again")).unwrap();

        assert_eq!(find_saes(dir.path(), None).unwrap().len(), 1);
    }
}
