//! Loading SAEs of any format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use crate::container::WeightDtype;
use crate::error::CheckpointError;
use crate::labels::Labels;
use crate::sae::find::find_saes;
use crate::sae::formats::{file_name, layouts, open_sae};
use crate::sae::metadata::Metadata;
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;

/// An SAE with the information in its files.
#[derive(Debug)]
pub struct LoadedSae {
    /// The SAE.
    pub sae: Sae,
    /// The activations that it reads and writes, by the names in its files.
    pub hooks: SaeHooks,
    /// The file it was loaded from.
    pub path: PathBuf,
    /// The tool that wrote it, for people.
    pub format: &'static str,
    /// The labels in its folder.
    pub labels: Labels,
    /// Further entries of its checkpoint: its provenance, and for nanochat-SAE's files `training_steps`
    /// and the like.
    pub metadata: Metadata,
}

/// A path to search for SAEs, and their hook point if their files do not name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaePath {
    /// A file, or a folder that is searched with all folders in it.
    pub path: PathBuf,
    /// The hook point that the SAE reads, and the one that it writes if that is another. Takes
    /// precedence over its files; there must be only one SAE.
    pub at: Option<(HookPoint, Option<HookPoint>)>,
}

impl<P: Into<PathBuf>> From<P> for SaePath {
    fn from(path: P) -> Self {
        Self { path: path.into(), at: None }
    }
}

/// Options for [`load_saes_with`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaeOptions {
    /// The number type of the matrices. Default: float32.
    pub dtype: WeightDtype,
    /// The hook points whose SAEs to load. Others are neither read nor reported as errors if their
    /// hook point is unknown. Default: all.
    pub hooks: Option<Vec<HookPoint>>,
}

impl LoadedSae {
    /// Returns the hook point of the activation that it reads.
    ///
    /// # Errors
    /// [`CheckpointError::NoHook`] if its files do not name one, [`CheckpointError::Hook`] if they
    /// name an activation that our models do not have.
    pub fn hook(&self) -> Result<HookPoint, CheckpointError> {
        hook(&self.hooks, &self.path)
    }

    /// Returns the hook point of the activation that it writes, if that is another.
    ///
    /// # Errors
    /// [`CheckpointError::Hook`] if its files name an activation that our models do not have.
    pub fn hook_out(&self) -> Result<Option<HookPoint>, CheckpointError> {
        self.hooks.hook_out.as_deref().map(|name| parse_hook(name, &self.path)).transpose()
    }
}

fn hook(hooks: &SaeHooks, path: &Path) -> Result<HookPoint, CheckpointError> {
    let name = hooks.hook.as_deref();
    parse_hook(name.ok_or_else(|| CheckpointError::NoHook { path: path.to_owned() })?, path)
}

fn parse_hook(name: &str, path: &Path) -> Result<HookPoint, CheckpointError> {
    name.parse().map_err(|source| CheckpointError::Hook { path: path.to_owned(), source })
}

/// Loads every SAE at `paths`, for use in a model.
///
/// In a folder, files are chosen by the names that each tool uses. Of several stages of one training
/// only the last is loaded: nanochat-SAE's `best_model.pt`, otherwise the highest step of
/// `checkpoint_step*.pt`, otherwise `sae_final.pt`; dictionary_learning's `ae.pt`, otherwise the
/// highest step of `ae_*.pt`. Other `.pt` and `.pth` files count only in a folder without any of
/// these, and each is then an SAE of its own.
///
/// The result is in the order of the hook points.
///
/// # Errors
/// [`CheckpointError::NoSae`] if a path has none, [`CheckpointError::NoHook`] or
/// [`CheckpointError::Hook`] if one does not belong to a hook point of our models,
/// [`CheckpointError::TwoSaes`] if two belong to the same hook point, and any error in a file.
pub fn load_saes(
    paths: impl IntoIterator<Item = impl Into<SaePath>>,
    device: &Device,
) -> Result<Vec<LoadedSae>, CheckpointError> {
    load_saes_with(paths, device, &SaeOptions::default())
}

/// As [`load_saes`], with `options`.
///
/// # Errors
/// As [`load_saes`]; also if a number does not fit [`SaeOptions::dtype`], and
/// [`CheckpointError::NoSaeForHook`] if no SAE belongs to one of [`SaeOptions::hooks`].
pub fn load_saes_with(
    paths: impl IntoIterator<Item = impl Into<SaePath>>,
    device: &Device,
    options: &SaeOptions,
) -> Result<Vec<LoadedSae>, CheckpointError> {
    // Everything is checked before any weight is read.
    let mut opened: BTreeMap<HookPoint, SaeFile> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut unwanted = BTreeSet::new();
    for path in paths {
        let SaePath { path, at } = path.into();
        let found = find_saes(&path)?;
        match (at, found.as_slice()) {
            (_, []) => return Err(no_sae(path)),
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
                sae.hooks = SaeHooks::new(hook, hook_out);
            }
            if !is_wanted(&sae.hooks, options) {
                unwanted.extend(sae.hooks.hook);
                continue;
            }
            let hook = hook(&sae.hooks, &file)?;
            if let Some(other) = opened.get(&hook) {
                let first = other.path().to_owned();
                return Err(CheckpointError::TwoSaes { hook, first, second: file });
            }
            opened.insert(hook, sae);
        }
    }
    let mut wanted = options.hooks.iter().flatten();
    if let Some(&hook) = wanted.find(|hook| !opened.contains_key(hook)) {
        let mut found = opened.keys().map(ToString::to_string).collect::<Vec<_>>();
        found.extend(unwanted);
        return Err(CheckpointError::NoSaeForHook { hook, found });
    }
    opened.into_values().map(|sae| load(sae, device, options.dtype)).collect()
}

/// Returns whether the SAE with these hooks is to be loaded. One without a known hook point cannot be
/// the one that a list of hook points means.
fn is_wanted(hooks: &SaeHooks, options: &SaeOptions) -> bool {
    let hook = || hooks.hook.as_deref()?.parse::<HookPoint>().ok();
    options.hooks.as_ref().is_none_or(|wanted| hook().is_some_and(|hook| wanted.contains(&hook)))
}

/// Loads the only SAE at `path`, a file or a folder, whatever its hook point.
///
/// # Errors
/// [`CheckpointError`] with the file and the cause; [`CheckpointError::SeveralSaes`] if there are
/// several.
pub fn load_sae(path: &Path, device: &Device) -> Result<LoadedSae, CheckpointError> {
    load_sae_as(path, device, WeightDtype::F32)
}

/// As [`load_sae`], with the matrices as `dtype`.
///
/// # Errors
/// As [`load_sae`]; also if a number does not fit `dtype`.
pub fn load_sae_as(
    path: &Path,
    device: &Device,
    dtype: WeightDtype,
) -> Result<LoadedSae, CheckpointError> {
    match find_saes(path)?.as_slice() {
        [] => Err(no_sae(path.to_owned())),
        [file] => load(open_sae(file)?, device, dtype),
        [first, second, ..] => Err(CheckpointError::SeveralSaes {
            path: path.to_owned(),
            first: first.clone(),
            second: second.clone(),
        }),
    }
}

fn load(file: SaeFile, device: &Device, dtype: WeightDtype) -> Result<LoadedSae, CheckpointError> {
    let path = file.path().to_owned();
    let dir = path.parent().unwrap_or(Path::new("."));
    // An SAE's own folder is the one above the folder of its weights.
    let is_weights_dir = layouts()
        .filter_map(|layout| layout.weights_dir)
        .any(|weights_dir| file_name(dir) == Some(weights_dir));
    let dir = dir.parent().filter(|_| is_weights_dir).unwrap_or(dir);
    let labels = Labels::read(dir, file.config.d_sae())?.of_sae(&path);
    let sae = file.load(device, dtype)?;
    let SaeFile { hooks, format, metadata, .. } = file;
    Ok(LoadedSae { sae, hooks, path, format, labels, metadata })
}

fn no_sae(path: PathBuf) -> CheckpointError {
    CheckpointError::NoSae { path, names: layouts().map(|layout| layout.names).collect() }
}
