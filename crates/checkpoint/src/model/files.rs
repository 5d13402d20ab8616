//! Finding a model's files.

use std::path::{Path, PathBuf};

use nanoscope_transformer::Era;

use crate::container::{INDEX_FILE, TensorSource, is_index};
use crate::error::CheckpointError;
use crate::files;
use crate::hub;
use crate::model::description::Description;
use crate::model::{find, nanochat, native, transformers};
use crate::read::json;
use crate::tokenizer::has_tokenizer;

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

impl ModelFiles {
    /// Finds the model at `path`: a weights file, a folder with checkpoints of several steps, a
    /// folder of such folders (`base_checkpoints`), any level of `experiments/<name>/<tag>/<source>`,
    /// nanochat's base folder, or a folder in our own layout or in transformers'. A path that does not
    /// exist can be the name of a repository in Hugging Face's cache, `google/gemma-2-2b` or
    /// `models--google--gemma-2-2b`: the snapshot of its main branch is taken, otherwise the newest.
    ///
    /// Where there is a choice, it is made as in nanochat: the tag `d<N>` with the highest `N`,
    /// otherwise the newest folder; then the highest step. Folders without a checkpoint do not count.
    /// Among the sources of a base folder or an experiment, base comes first. Between several
    /// experiments there is no choice.
    ///
    /// # Errors
    /// [`CheckpointError::NoModel`] if there is none, [`CheckpointError::SeveralModels`] if there are
    /// several without a reason to prefer one, [`CheckpointError::NoSuchPath`] if `path` does not
    /// exist, [`CheckpointError::Io`] if a folder cannot be read.
    pub fn find(path: &Path) -> Result<Self, CheckpointError> {
        find::weights(&hub::resolve(path)?).map(|weights| Self::from_weights(&weights))
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
        // `<base>/base_checkpoints/d20/model_000100.pt` has its tokenizer in `<base>/tokenizer`. In the other
        // layouts a tokenizer above the folder is another model's.
        let levels = if config.as_ref().is_some_and(|path| path.ends_with(native::CONFIG_FILE)) {
            1
        } else {
            3
        };
        let absolute = files::absolute(weights).unwrap_or_else(|_| weights.to_owned());
        let tokenizer = absolute.ancestors().skip(1).take(levels).find_map(|dir| {
            let own = files::is_file(&dir.join("tokenizer.json")).then(|| dir.to_owned());
            own.or_else(|| Some(dir.join("tokenizer")).filter(|dir| has_tokenizer(dir)))
        });
        Self {
            weights: weights.to_owned(),
            config: config.filter(|path| files::is_file(path)),
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

    /// Returns the name under which the model was published, as its folder in Hugging Face's cache or
    /// `_name_or_path` in its configuration states it.
    pub fn name(&self) -> Option<String> {
        let absolute = files::absolute(&self.weights).ok()?;
        let in_cache = absolute.iter().rev().find_map(|folder| {
            Some(folder.to_str()?.strip_prefix("models--")?.replacen("--", "/", 1))
        });
        in_cache.or_else(|| {
            let config: serde_json::Value = json::read(self.config.as_ref()?).ok()?;
            let name = config.get("_name_or_path")?.as_str()?;
            // A folder of the machine on which it was written says nothing.
            let is_name =
                !name.is_empty() && !name.starts_with(['/', '.', '~']) && !name.contains('\\');
            is_name.then(|| name.to_owned())
        })
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
