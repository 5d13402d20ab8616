//! Recognises the format of SAEs, and loads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use crate::container::{TensorFile, WeightDtype};
use crate::error::CheckpointError;
use crate::labels::Labels;
use crate::sae::find::find_saes;
use crate::sae::formats::{
    circuit_tracer, dictionary_learning, gemma_scope, gemma_scope_2, goodfire, llama_scope,
    nanochat_sae, openai, qwen_scope, saelens, sparsify,
};
use crate::sae::sae_file::{Place, SaeFile};

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

/// Loads every SAE at `paths` for use in a model.
///
/// Of a folder those files are taken that the tools' names say are SAEs, and of those that are
/// stages of one training only the last: nanochat-SAE's `best_model.pt`, else the highest step of
/// `checkpoint_step*.pt`, else `sae_final.pt`; dictionary_learning's `ae.pt`, else the highest step
/// of `ae_*.pt`. Other `.pt` and `.pth` files count only in a folder that has none of these, and
/// then each is an SAE of its own.
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
    // The folder that is the SAE's is above that of its weights.
    let is_part = dir.file_name().is_some_and(|name| name == llama_scope::CHECKPOINTS_DIR);
    let dir = dir.parent().filter(|_| is_part).unwrap_or(dir);
    let labels = Labels::read(dir, file.config.d_sae())?;
    let sae = file.load(device, dtype)?;
    Ok(LoadedSae { sae, place: file.place.clone(), path, format: file.format, labels })
}

/// What tells whether a file is of a format, and what opens it.
type Format = (fn(&TensorFile) -> bool, fn(TensorFile) -> Result<SaeFile, CheckpointError>);

/// Every format; the first that claims a file has it. Those that go by what lies beside a file come
/// before those that take any with the right tensors.
const FORMATS: &[Format] = &[
    (nanochat_sae::claims, nanochat_sae::open),
    (saelens::claims, saelens::open),
    (sparsify::claims, sparsify::open),
    (llama_scope::claims, llama_scope::open),
    (circuit_tracer::claims, circuit_tracer::open),
    (dictionary_learning::claims, dictionary_learning::open),
    (qwen_scope::claims, qwen_scope::open),
    (gemma_scope::claims, gemma_scope::open),
    (gemma_scope_2::claims, gemma_scope_2::open),
    (openai::claims, openai::open),
    (goodfire::claims, goodfire::open),
];

/// Whether `file` has an SAE of a known format.
pub(crate) fn is_sae(file: &TensorFile) -> bool {
    FORMATS.iter().any(|(claims, _)| claims(file))
}

/// Opens the SAE in the file at `path`, whatever its format.
pub(crate) fn open_sae(path: &Path) -> Result<SaeFile, CheckpointError> {
    open_sae_in(TensorFile::open(path)?)
}

/// The SAE in `file`, whatever its format.
pub(crate) fn open_sae_in(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    match FORMATS.iter().find(|(claims, _)| claims(&file)) {
        Some((_, open)) => open(file),
        None => Err(CheckpointError::NotAnSae {
            path: file.path().to_owned(),
            tensors: file.tensors().map(|(name, _)| name.to_owned()).collect(),
        }),
    }
}
