//! Finds SAEs in files and folders, recognises their format, and loads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use crate::error::CheckpointError;
use crate::folder::entries;
use crate::labels::Labels;
use crate::sae_file::{Place, SaeFile};
use crate::tensors::TensorFile;
use crate::weight_dtype::WeightDtype;
use crate::{nanochat_sae, saelens};

/// An SAE with what its files say of it.
#[derive(Debug)]
pub struct LoadedSae {
    /// The SAE.
    pub sae: Sae,
    /// The activations that it reads and writes, by the names that its files give them.
    pub place: Place,
    /// The file it came from.
    pub path: PathBuf,
    /// The tool that wrote it, for people.
    pub format: &'static str,
    /// The labels in its folder.
    pub labels: Labels,
}

/// Where to look for SAEs, and where they belong if their files do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaePath {
    /// A file, or a folder that is searched with all folders in it.
    pub path: PathBuf,
    /// The hook point that the SAE reads, and the one that it writes if that is another. Wins over
    /// what files say; there must be one SAE only.
    pub at: Option<(HookPoint, Option<HookPoint>)>,
}

impl<P: Into<PathBuf>> From<P> for SaePath {
    fn from(path: P) -> Self {
        Self { path: path.into(), at: None }
    }
}

impl LoadedSae {
    /// The hook point whose activation it reads.
    ///
    /// # Errors
    /// [`CheckpointError::NoHook`] if its files do not say, [`CheckpointError::Hook`] if they name
    /// an activation that we do not have.
    pub fn hook(&self) -> Result<HookPoint, CheckpointError> {
        hook(&self.place, &self.path)
    }

    /// The hook point whose activation it writes, if that is another.
    ///
    /// # Errors
    /// [`CheckpointError::Hook`] if its files name an activation that we do not have.
    pub fn hook_out(&self) -> Result<Option<HookPoint>, CheckpointError> {
        self.place.hook_out.as_deref().map(|name| parse_hook(name, &self.path)).transpose()
    }
}

fn hook(place: &Place, path: &Path) -> Result<HookPoint, CheckpointError> {
    let name = place.hook.as_deref();
    parse_hook(name.ok_or_else(|| CheckpointError::NoHook { path: path.to_owned() })?, path)
}

fn parse_hook(name: &str, path: &Path) -> Result<HookPoint, CheckpointError> {
    name.parse().map_err(|source| CheckpointError::Hook { path: path.to_owned(), source })
}

/// Folders deeper than this below the one given are not searched.
const DEEPEST: usize = 16;

/// The folder in which nanochat-SAE prepares an SAE for Neuronpedia.
const UPLOAD_DIR: &str = "neuronpedia_upload";

/// Loads every SAE at `paths` for use in a model.
///
/// Of the files in one folder that are stages of one training, one is taken: nanochat-SAE's
/// `best_model.pt`, else the highest step of `checkpoint_step*.pt`, else `sae_final.pt`. Other
/// `.pt` files count only in a folder that has none of these, and then each is an SAE of its own.
///
/// The result is in the order of the hook points.
///
/// # Errors
/// [`CheckpointError::NoSae`] if a path has none, [`CheckpointError::NoHook`] or
/// [`CheckpointError::Hook`] if one has no place in our models, [`CheckpointError::TwoSaes`] if two
/// are for one hook point, and whatever is wrong with a file.
pub fn load_saes(
    paths: impl IntoIterator<Item = impl Into<SaePath>>,
    device: &Device,
) -> Result<Vec<LoadedSae>, CheckpointError> {
    load_saes_as(paths, device, WeightDtype::F32)
}

/// As [`load_saes`], the matrices as `dtype`.
///
/// # Errors
/// As [`load_saes`]; also if a number does not fit `dtype`.
pub fn load_saes_as(
    paths: impl IntoIterator<Item = impl Into<SaePath>>,
    device: &Device,
    dtype: WeightDtype,
) -> Result<Vec<LoadedSae>, CheckpointError> {
    // Everything is checked before any weight is read.
    let mut opened: BTreeMap<HookPoint, SaeFile> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let SaePath { path, at } = path.into();
        let found = find_saes(&path)?;
        match (at, found.as_slice()) {
            (_, []) => return Err(CheckpointError::NoSae { path }),
            (Some((hook, _)), [first, second, ..]) => {
                let (first, second) = (first.clone(), second.clone());
                return Err(CheckpointError::TwoSaes { hook, first, second });
            }
            _ => {}
        }
        for file in found {
            // The same file given twice is one SAE.
            if !seen.insert(fs::canonicalize(&file).unwrap_or_else(|_| file.clone())) {
                continue;
            }
            let mut sae = open_sae(&file)?;
            if let Some((hook, hook_out)) = at {
                sae.place = Place::of(hook, hook_out);
            }
            let hook = hook(&sae.place, &file)?;
            if let Some(other) = opened.get(&hook) {
                let first = other.path().to_owned();
                return Err(CheckpointError::TwoSaes { hook, first, second: file });
            }
            opened.insert(hook, sae);
        }
    }
    opened.into_values().map(|sae| load(&sae, device, dtype)).collect()
}

/// Loads the one SAE at `path`, a file or a folder, wherever it belongs.
///
/// # Errors
/// [`CheckpointError`] naming the file and what is wrong with it; [`CheckpointError::SeveralSaes`]
/// if there are more.
pub fn load_sae(path: &Path, device: &Device) -> Result<LoadedSae, CheckpointError> {
    load_sae_as(path, device, WeightDtype::F32)
}

/// As [`load_sae`], the matrices as `dtype`.
///
/// # Errors
/// As [`load_sae`]; also if a number does not fit `dtype`.
pub fn load_sae_as(
    path: &Path,
    device: &Device,
    dtype: WeightDtype,
) -> Result<LoadedSae, CheckpointError> {
    match find_saes(path)?.as_slice() {
        [] => Err(CheckpointError::NoSae { path: path.to_owned() }),
        [file] => load(&open_sae(file)?, device, dtype),
        [first, second, ..] => Err(CheckpointError::SeveralSaes {
            path: path.to_owned(),
            first: first.clone(),
            second: second.clone(),
        }),
    }
}

fn load(file: &SaeFile, device: &Device, dtype: WeightDtype) -> Result<LoadedSae, CheckpointError> {
    let path = file.path().to_owned();
    let dir = path.parent().unwrap_or(Path::new("."));
    let labels = Labels::read(dir, file.config.d_sae())?;
    let sae = file.load(device, dtype)?;
    Ok(LoadedSae { sae, place: file.place.clone(), path, format: file.format, labels })
}

/// What tells whether a file is of a format, and what opens it.
type Format = (fn(&TensorFile) -> bool, fn(TensorFile) -> Result<SaeFile, CheckpointError>);

/// Every format; the first that claims a file has it.
const FORMATS: &[Format] =
    &[(nanochat_sae::claims, nanochat_sae::open), (saelens::claims, saelens::open)];

/// Whether `file` has an SAE of a known format.
#[cfg_attr(not(feature = "gpt"), expect(dead_code, reason = "only `inspect` asks"))]
pub(crate) fn is_sae(file: &TensorFile) -> bool {
    FORMATS.iter().any(|(claims, _)| claims(file))
}

/// Opens the SAE in the file at `path`, whatever its format.
pub(crate) fn open_sae(path: &Path) -> Result<SaeFile, CheckpointError> {
    let file = TensorFile::open(path)?;
    match FORMATS.iter().find(|(claims, _)| claims(&file)) {
        Some((_, open)) => open(file),
        None => Err(CheckpointError::NotAnSae {
            path: path.to_owned(),
            tensors: file.tensors().map(|(name, _)| name.to_owned()).collect(),
        }),
    }
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
        .or_else(|| named("sae_final.pt"))
        .or_else(|| named(saelens::WEIGHTS_FILE));
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
