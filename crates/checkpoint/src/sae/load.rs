//! Loading SAEs of any format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use crate::container::MatrixDtype;
use crate::error::{CheckpointError, SaeFileError};
use crate::files;
use crate::labels::Labels;
use crate::sae::activation_scale::ActivationScale;
use crate::sae::find::find_saes;
use crate::sae::formats::{SaeFormatName, file_name, layouts, open_sae};
use crate::sae::metadata::Metadata;
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::site::Site;

/// An SAE with the information in its files.
#[derive(Debug)]
pub struct LoadedSae {
    /// The SAE.
    pub sae: Sae,
    /// The activations that it reads and writes: as stated, or else by the names in its files.
    pub hooks: SaeHooks,
    /// The activations by the names in its files, if it was placed at others.
    pub overruled: Option<SaeHooks>,
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

/// Options for [`load_saes_with`] and [`load_sae_with`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SaeOptions {
    /// The type of the matrices in memory; computation is in float32. Default: the 16-bit type in which the
    /// file has both, if loading changes no number; otherwise, and on GPUs, float32.
    pub dtype: Option<MatrixDtype>,
    /// The format of each file that can have it, for files that nothing identifies or that two
    /// formats claim. Default: by evidence only.
    pub format: Option<SaeFormatName>,
    /// The scale of the activations in training, for files that leave it open. Default: these are
    /// an error.
    pub activation_scale: Option<ActivationScale>,
    /// The hook points whose SAEs to load. Others are neither read nor reported as errors if their
    /// hook point is unknown. Default: all.
    pub hooks: Option<Vec<HookPoint>>,
    /// True if the model norms the outputs of its sublayers, as Gemma 2 and 3 do. It decides what
    /// transformers' `post_attention_layernorm` is. Default: not known, and such an SAE is an error.
    pub post_norms: Option<bool>,
}

impl LoadedSae {
    /// Returns the hook point of the activation that it reads.
    ///
    /// # Errors
    /// [`SaeFileError::NoHook`] if its files do not name one, [`SaeFileError::Hook`] if they
    /// name an activation that our models do not have.
    pub fn hook(&self) -> Result<HookPoint, CheckpointError> {
        hook(&self.hooks, &self.path)
    }

    /// Places it at `hook`, whatever its files name.
    pub fn placed_at(self, hook: HookPoint) -> Self {
        let hooks = SaeHooks { hook: Some(hook.to_string()), ..self.hooks.clone() };
        let overruled = self.overruled.unwrap_or(self.hooks).overruled_by(&hooks);
        Self { hooks, overruled, ..self }
    }

    /// Returns the hook point of the activation that it writes, if that is another.
    ///
    /// # Errors
    /// [`SaeFileError::Hook`] if its files name an activation that our models do not have.
    pub fn hook_out(&self) -> Result<Option<HookPoint>, CheckpointError> {
        self.hooks.hook_out.as_deref().map(|name| parse_hook(name, &self.path)).transpose()
    }
}

fn hook(hooks: &SaeHooks, path: &Path) -> Result<HookPoint, CheckpointError> {
    let name = hooks.hook.as_deref();
    parse_hook(name.ok_or_else(|| SaeFileError::NoHook { path: path.to_owned() })?, path)
}

fn parse_hook(name: &str, path: &Path) -> Result<HookPoint, CheckpointError> {
    match Site::of(name) {
        Site::Point(point) => Ok(point),
        Site::ByPostNorms { with, without } => Err(SaeFileError::AmbiguousHook {
            path: path.to_owned(),
            name: name.to_owned(),
            points: [with, without],
        }
        .into()),
        Site::Unknown => name.parse().map_err(|source| {
            CheckpointError::SaeFile(SaeFileError::Hook { path: path.to_owned(), source })
        }),
    }
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
/// [`SaeFileError::NoSae`] if a path has none, [`SaeFileError::NoHook`] or
/// [`SaeFileError::Hook`] if one does not belong to a hook point of our models,
/// [`SaeFileError::TwoSaes`] if two belong to the same hook point, and any error in a file. The same
/// file at two hook points is two SAEs; given twice for one, it is one.
pub fn load_saes(
    paths: impl IntoIterator<Item = impl Into<SaePath>>,
    device: &Device,
) -> Result<Vec<LoadedSae>, CheckpointError> {
    load_saes_with(paths, device, &SaeOptions::default())
}

/// As [`load_saes`], with `options`.
///
/// # Errors
/// As [`load_saes`]; also if a number does not fit [`SaeOptions::dtype`],
/// [`SaeFileError::NoSaeForHook`] if no SAE belongs to one of [`SaeOptions::hooks`], and
/// [`SaeFileError::FormatNotUsed`] or [`SaeFileError::ActivationScaleNotUsed`] if no SAE needs
/// the statement.
pub fn load_saes_with(
    paths: impl IntoIterator<Item = impl Into<SaePath>>,
    device: &Device,
    options: &SaeOptions,
) -> Result<Vec<LoadedSae>, CheckpointError> {
    // Everything is checked before any weight is read.
    let mut opened: BTreeMap<HookPoint, SaeFile> = BTreeMap::new();
    let mut opening = Opening::new(options);
    for path in paths {
        opening.open_all(path.into(), &mut opened)?;
    }
    opening.check(|hook| opened.contains_key(&hook), opened.keys())?;
    opened.into_values().map(|sae| load(sae, device, options.dtype)).collect()
}

/// As [`load_saes_with`], but SAEs of different paths can belong to the same hook point. The result is
/// in the order of the paths.
///
/// # Errors
/// As [`load_saes_with`]; [`SaeFileError::TwoSaes`] only for SAEs of the same path.
pub fn load_saes_by_path(
    paths: impl IntoIterator<Item = impl Into<SaePath>>,
    device: &Device,
    options: &SaeOptions,
) -> Result<Vec<LoadedSae>, CheckpointError> {
    let mut all = Vec::new();
    let mut opening = Opening::new(options);
    for path in paths {
        let mut opened = BTreeMap::new();
        opening.open_all(path.into(), &mut opened)?;
        all.extend(opened);
    }
    let hooks = || all.iter().map(|(hook, _)| hook);
    opening.check(|hook| hooks().any(|&found| found == hook), hooks())?;
    all.into_iter().map(|(_, sae)| load(sae, device, options.dtype)).collect()
}

/// Returns whether both are the same file, used in the same way.
fn is_same(one: &SaeFile, other: &SaeFile) -> bool {
    let real = |sae: &SaeFile| files::canonicalize(sae.path()).unwrap_or(sae.path().to_owned());
    real(one) == real(other)
        && one.config == other.config
        && one.hooks == other.hooks
        && one.format == other.format
}

/// Returns whether the SAE with these hooks is to be loaded. One without a known hook point cannot be
/// the one that a list of hook points means.
fn is_wanted(hooks: &SaeHooks, options: &SaeOptions) -> bool {
    let hook = || Site::of(hooks.hook.as_deref()?).point(options.post_norms);
    options.hooks.as_ref().is_none_or(|wanted| hook().is_some_and(|hook| wanted.contains(&hook)))
}

/// Loads the only SAE at `path`, a file or a folder, whatever its hook point.
///
/// # Errors
/// [`CheckpointError`] with the file and the cause; [`SaeFileError::SeveralSaes`] if there are
/// several.
pub fn load_sae(path: &Path, device: &Device) -> Result<LoadedSae, CheckpointError> {
    load_sae_with(path, device, &SaeOptions::default())
}

/// As [`load_sae`], with the matrices as `dtype`.
///
/// # Errors
/// As [`load_sae`]; also if a number does not fit `dtype`.
pub fn load_sae_as(
    path: &Path,
    device: &Device,
    dtype: impl Into<MatrixDtype>,
) -> Result<LoadedSae, CheckpointError> {
    let dtype = Some(dtype.into());
    load_sae_with(path, device, &SaeOptions { dtype, ..SaeOptions::default() })
}

/// As [`load_sae`], with `options`, of which [`SaeOptions::hooks`] is not used.
///
/// # Errors
/// As [`load_sae`] and [`load_saes_with`].
pub fn load_sae_with(
    path: impl Into<SaePath>,
    device: &Device,
    options: &SaeOptions,
) -> Result<LoadedSae, CheckpointError> {
    let SaePath { path, at } = path.into();
    match find_saes(&path, options.format)?.as_slice() {
        [] => Err(no_sae(path)),
        [file] => {
            let mut opening = Opening::new(options);
            let sae = opening.open(file, at)?;
            let sae = opening.settle(sae)?;
            opening.check_statements()?;
            load(sae, device, options.dtype)
        }
        [first, second, ..] => Err(SaeFileError::SeveralSaes {
            path: path.clone(),
            first: first.clone(),
            second: second.clone(),
        }
        .into()),
    }
}

fn load(
    file: SaeFile,
    device: &Device,
    dtype: Option<MatrixDtype>,
) -> Result<LoadedSae, CheckpointError> {
    let path = file.path().to_owned();
    let dir = path.parent().unwrap_or(Path::new("."));
    // An SAE's own folder is the one above the folder of its weights.
    let is_weights_dir = layouts()
        .filter_map(|layout| layout.weights_dir)
        .any(|weights_dir| file_name(dir) == Some(weights_dir));
    let dir = dir.parent().filter(|_| is_weights_dir).unwrap_or(dir);
    let labels = Labels::read(dir, file.config.d_sae())?.of_sae(&path);
    let sae = file.load(device, dtype.unwrap_or_else(|| file.stored_dtype(device)))?;
    let SaeFile { hooks, overruled, format, metadata, .. } = file;
    Ok(LoadedSae { sae, hooks, overruled, path, format, labels, metadata })
}

/// SAEs being opened, and what is known so far about the use of the options.
struct Opening<'a> {
    options: &'a SaeOptions,
    /// The hook points of SAEs that the options leave out.
    unwanted: BTreeSet<String>,
    /// A file that does not have the stated format.
    other_format: Option<(PathBuf, &'static str)>,
    has_format: bool,
    /// A file that does not leave the activation scale open.
    other_scale: Option<PathBuf>,
    has_scale: bool,
}

impl<'a> Opening<'a> {
    fn new(options: &'a SaeOptions) -> Self {
        Self {
            options,
            unwanted: BTreeSet::new(),
            other_format: None,
            has_format: false,
            other_scale: None,
            has_scale: false,
        }
    }

    /// Adds the wanted SAEs at a path to those that are open.
    fn open_all(
        &mut self,
        SaePath { path, at }: SaePath,
        opened: &mut BTreeMap<HookPoint, SaeFile>,
    ) -> Result<(), CheckpointError> {
        let found = find_saes(&path, self.options.format)?;
        match (at, found.as_slice()) {
            (_, []) => return Err(no_sae(path)),
            (Some((hook, _)), [first, second, ..]) => {
                let (first, second) = (first.clone(), second.clone());
                return Err(SaeFileError::TwoSaes { hook, first, second }.into());
            }
            _ => {}
        }
        for file in found {
            let sae = self.open(&file, at)?;
            if !is_wanted(&sae.hooks, self.options) {
                self.unwanted.extend(sae.hooks.hook);
                continue;
            }
            let sae = self.settle(sae)?;
            let hook = hook(&sae.hooks, &file)?;
            match opened.get(&hook) {
                Some(other) if is_same(other, &sae) => {}
                Some(other) => {
                    let first = other.path().to_owned();
                    return Err(SaeFileError::TwoSaes { hook, first, second: file }.into());
                }
                None => drop(opened.insert(hook, sae)),
            }
        }
        Ok(())
    }

    /// Opens the SAE in the file at `path` and places it.
    fn open(
        &mut self,
        path: &Path,
        at: Option<(HookPoint, Option<HookPoint>)>,
    ) -> Result<SaeFile, CheckpointError> {
        let sae = open_sae(path, self.options.format)?;
        match self.options.format {
            Some(stated) if stated.tool() == sae.format => self.has_format = true,
            _ => self.other_format = Some((path.to_owned(), sae.format)),
        }
        Ok(match at {
            Some(at) => sae.placed(at, self.options.post_norms),
            None => SaeFile { hooks: sae.hooks.named_as_ours(self.options.post_norms), ..sae },
        })
    }

    fn settle(&mut self, sae: SaeFile) -> Result<SaeFile, CheckpointError> {
        let path = sae.path().to_owned();
        let (sae, was_open) = sae.settled(self.options.activation_scale)?;
        if was_open {
            self.has_scale = true;
        } else {
            self.other_scale = Some(path);
        }
        Ok(sae)
    }

    /// Checks that every wanted hook point has an SAE, and that each statement belongs to a file.
    fn check<'h>(
        self,
        has: impl Fn(HookPoint) -> bool,
        hooks: impl Iterator<Item = &'h HookPoint>,
    ) -> Result<(), CheckpointError> {
        let mut wanted = self.options.hooks.iter().flatten();
        if let Some(&hook) = wanted.find(|hook| !has(**hook)) {
            let mut found = hooks.map(ToString::to_string).collect::<Vec<_>>();
            found.extend(self.unwanted);
            return Err(SaeFileError::NoSaeForHook { hook, found }.into());
        }
        self.check_statements()
    }

    /// Checks that each statement belongs to a file.
    fn check_statements(self) -> Result<(), CheckpointError> {
        if let (Some(format), Some((path, found))) = (self.options.format, self.other_format)
            && !self.has_format
        {
            return Err(SaeFileError::FormatNotUsed { path, format, found }.into());
        }
        match (self.options.activation_scale, self.other_scale) {
            (Some(_), Some(path)) if !self.has_scale => {
                Err(SaeFileError::ActivationScaleNotUsed { path }.into())
            }
            _ => Ok(()),
        }
    }
}

fn no_sae(path: PathBuf) -> CheckpointError {
    CheckpointError::SaeFile(SaeFileError::NoSae {
        path,
        names: layouts().map(|layout| layout.names).collect(),
    })
}
