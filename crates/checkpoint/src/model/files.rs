//! Finding a model's files.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_transformer::Era;

use crate::container::{INDEX_FILE, TensorSource, is_index};
use crate::error::CheckpointError;
use crate::model::description::Description;
use crate::model::{nanochat, native, transformers};
use crate::read::entries;

/// A model's files, found but not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// The file with the weights, or the index of the files that have them.
    pub weights: PathBuf,
    /// The file with the configuration; `None` if the weights file contains it.
    pub config: Option<PathBuf>,
    /// The folder of the tokenizer, if there is one where nanochat puts it.
    pub tokenizer: Option<PathBuf>,
}

/// nanochat's folders of checkpoints, in the order in which they are searched.
const SOURCES: [&str; 4] =
    ["base_checkpoints", "chatsft_checkpoints", "chatrl_checkpoints", "mid_checkpoints"];

impl ModelFiles {
    /// Finds the model at `path`: a weights file, a folder with checkpoints of several steps, a
    /// folder of such folders (`base_checkpoints`), nanochat's base folder, or a folder in our own
    /// layout or in transformers'.
    ///
    /// Where there is a choice, it is made as in nanochat: the tag `d<N>` with the highest `N`,
    /// otherwise the newest folder; then the highest step. Among the sources of a base folder, base
    /// comes first.
    ///
    /// # Errors
    /// [`CheckpointError::NoModel`] if there is none, [`CheckpointError::Io`] if a folder cannot
    /// be read.
    pub fn find(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = fs::metadata(path).map_err(|source| CheckpointError::io(path, source))?;
        if metadata.is_file() {
            return Ok(Self::from_weights(path));
        }
        let no_model = || CheckpointError::NoModel { path: path.to_owned() };
        let sources = SOURCES.iter().map(|name| path.join(name)).filter(|dir| dir.is_dir());
        for tags in sources.chain([path.to_owned()]) {
            if let Some(found) = Self::in_folder(&tags)? {
                return Ok(found);
            }
            if let Some(tag) = guess_tag(&tags)?
                && let Some(found) = Self::in_folder(&tag)?
            {
                return Ok(found);
            }
        }
        Err(no_model())
    }

    /// Returns the model directly in `dir` with the highest step.
    fn in_folder(dir: &Path) -> Result<Option<Self>, CheckpointError> {
        // One file comes before several, as in transformers.
        for weights in [native::WEIGHTS_FILE, INDEX_FILE].map(|name| dir.join(name)) {
            if weights.is_file() {
                return Ok(Some(Self::from_weights(&weights)));
            }
        }
        let steps = entries(dir)?.into_iter().filter_map(|path| Some((step_of(&path)?, path)));
        Ok(steps.max().map(|(_, path)| Self::from_weights(&path)))
    }

    /// Returns the files that belong to a weights file.
    fn from_weights(weights: &Path) -> Self {
        let config = match weights.file_name().and_then(|name| name.to_str()) {
            Some(native::WEIGHTS_FILE | INDEX_FILE) => {
                Some(weights.with_file_name(native::CONFIG_FILE))
            }
            Some(name) => name
                .strip_prefix("model_")
                .and_then(|rest| rest.strip_suffix(".pt"))
                .map(|step| weights.with_file_name(format!("meta_{step}.json"))),
            None => None,
        };
        // `<base>/base_checkpoints/d20/model_000100.pt` has its tokenizer in `<base>/tokenizer`.
        let absolute = std::path::absolute(weights).unwrap_or_else(|_| weights.to_owned());
        let tokenizer = absolute.ancestors().skip(1).take(3).find_map(|dir| {
            let own = dir.join("tokenizer.json").is_file().then(|| dir.to_owned());
            own.or_else(|| Some(dir.join("tokenizer")).filter(|dir| dir.is_dir()))
        });
        Self {
            weights: weights.to_owned(),
            config: config.filter(|path| path.is_file()),
            tokenizer,
        }
    }

    /// Reads everything about the model except its weights, and checks that these are all there.
    pub(crate) fn describe(&self, era: Option<Era>) -> Result<Description, CheckpointError> {
        let source = TensorSource::open(&self.weights)?;
        if !native::is_native(&self.weights) && !is_index(&self.weights) {
            return nanochat::describe(source, self.config.as_deref(), era);
        }
        let Some(config) = &self.config else {
            return Err(CheckpointError::NoConfig { path: self.weights.clone() });
        };
        // Only transformers writes an index.
        if is_index(&self.weights) || transformers::is_transformers(config)? {
            transformers::describe(source, config, era)
        } else {
            native::describe(source, config, era)
        }
    }

    /// Returns every file that determines what the model computes: the weights, by name, and the
    /// configuration.
    ///
    /// # Errors
    /// [`CheckpointError`] if there is an index and it names no files.
    pub fn all(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut files = TensorSource::open(&self.weights)?.files();
        files.extend(self.config.clone());
        Ok(files)
    }
}

/// Returns the tag that nanochat would choose: `d<N>` with the highest `N`, otherwise the newest
/// folder.
fn guess_tag(dir: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    let tags: Vec<PathBuf> = entries(dir)?.into_iter().filter(|path| path.is_dir()).collect();
    let depth = |path: &Path| {
        let digits = path.file_name()?.to_str()?.strip_prefix('d')?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse::<u64>().ok()
    };
    if let Some((_, path)) = tags.iter().filter_map(|path| Some((depth(path)?, path))).max() {
        return Ok(Some(path.clone()));
    }
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    Ok(tags.into_iter().filter(|path| has_steps(path)).max_by_key(|path| modified(path)))
}

fn has_steps(dir: &Path) -> bool {
    entries(dir).is_ok_and(|paths| paths.iter().any(|path| step_of(path).is_some()))
}

/// Parses the step in `model_000100.pt`.
fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("model_")?.strip_suffix(".pt")?.parse().ok()
}
