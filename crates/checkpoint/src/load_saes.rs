//! Finds the SAEs in a folder, recognises what they are, and loads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use crate::error::CheckpointError;
use crate::folder::entries;
use crate::labels::Labels;
use crate::nanochat_sae::NanochatSae;

/// An SAE with what its files say of it.
#[derive(Debug)]
pub struct LoadedSae {
    /// The SAE.
    pub sae: Sae,
    /// The activation it was trained on.
    pub hook: HookPoint,
    /// The file it came from.
    pub path: PathBuf,
    /// The labels in its folder.
    pub labels: Labels,
}

/// Folders deeper than this below the one given are not searched.
const DEEPEST: usize = 16;

/// The folder in which nanochat-SAE prepares an SAE for Neuronpedia.
const UPLOAD_DIR: &str = "neuronpedia_upload";

/// Loads every SAE at `paths`: files, and folders searched with all folders in them.
///
/// Of the files in one folder that are stages of one training, one is taken: `best_model.pt`, else
/// the highest step of `checkpoint_step*.pt`, else `sae_final.pt`. Other `.pt` files count only in
/// a folder that has none of these, and then each is an SAE of its own.
///
/// The result is in the order of the hook points.
///
/// # Errors
/// [`CheckpointError::NoSae`] if a path has none, [`CheckpointError::TwoSaes`] if two are for one
/// hook point, and whatever is wrong with a file.
pub fn load_saes(paths: &[PathBuf], device: &Device) -> Result<Vec<LoadedSae>, CheckpointError> {
    let mut files = Vec::new();
    for path in paths {
        let found = find_saes(path)?;
        if found.is_empty() {
            return Err(CheckpointError::NoSae { path: path.clone() });
        }
        files.extend(found);
    }
    // The same file given twice is one SAE.
    let mut seen = BTreeSet::new();
    files.retain(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));

    // Everything is checked before any weight is read.
    let mut opened: BTreeMap<HookPoint, NanochatSae> = BTreeMap::new();
    for path in files {
        let sae = NanochatSae::open(&path)?;
        if let Some(other) = opened.get(&sae.hook) {
            return Err(CheckpointError::TwoSaes {
                hook: sae.hook,
                first: other.file.path().to_owned(),
                second: path,
            });
        }
        opened.insert(sae.hook, sae);
    }
    opened.into_values().map(|sae| load(&sae, device)).collect()
}

/// Loads the SAE in one file.
///
/// # Errors
/// [`CheckpointError`] naming the file and what is wrong with it.
pub fn load_sae(path: &Path, device: &Device) -> Result<LoadedSae, CheckpointError> {
    load(&NanochatSae::open(path)?, device)
}

fn load(file: &NanochatSae, device: &Device) -> Result<LoadedSae, CheckpointError> {
    let path = file.file.path().to_owned();
    let dir = path.parent().unwrap_or(Path::new("."));
    let labels = Labels::read(dir, file.config.d_sae())?;
    Ok(LoadedSae { sae: file.load(device)?, hook: file.hook, path, labels })
}

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
    found.extend(choose(&paths));
    // nanochat-SAE's trainer leaves a second copy there, without its configuration.
    let is_copy = |path: &Path| path.file_name().is_some_and(|name| name == UPLOAD_DIR);
    for path in paths.iter().filter(|path| path.is_dir() && !is_copy(path)) {
        search(path, depth + 1, visited, found)?;
    }
    Ok(())
}

/// The files to take of those in one folder.
fn choose(paths: &[PathBuf]) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let named = |wanted: &str| {
        paths.iter().find(|path| name(path).as_deref() == Some(wanted) && path.is_file())
    };
    let step = |path: &Path| -> Option<u64> {
        name(path)?.strip_prefix("checkpoint_step")?.strip_suffix(".pt")?.parse().ok()
    };
    let latest = || paths.iter().filter_map(|path| Some((step(path)?, path))).max();
    let one = named("best_model.pt")
        .or_else(|| latest().map(|(_, path)| path))
        .or_else(|| named("sae_final.pt"));
    match one {
        Some(path) => vec![path.clone()],
        None => {
            let is_pt = |path: &&PathBuf| path.extension().is_some_and(|ext| ext == "pt");
            paths.iter().filter(is_pt).filter(|path| path.is_file()).cloned().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let found = find_saes(dir.path()).unwrap();
        found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
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
