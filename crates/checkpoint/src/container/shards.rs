//! A model's tensors in one file, or in several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::container::mapped_tensors::TensorInfo;
use crate::container::tensor_file::TensorFile;
use crate::error::CheckpointError;
use crate::files;
use crate::read::json;

/// The file name that Hugging Face's libraries use for the index of a model in several files.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Maximum length of an index in bytes; that of the largest plausible model has 3 million.
const MAX_INDEX_BYTES: u64 = 8 << 20;

/// Named tensors from one or more files, opened but not yet read.
#[derive(Debug)]
pub(crate) struct TensorSource {
    path: PathBuf,
    files: Vec<TensorFile>,
    /// The index of the file of each tensor.
    homes: BTreeMap<String, usize>,
}

/// An index with the file of each tensor. Its `metadata` has counts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    weight_map: BTreeMap<String, String>,
}

/// Returns whether the file at `path` is an index, by its name.
pub(crate) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == INDEX_FILE)
}

impl TensorSource {
    /// Opens the file at `path`, or the files that it names if it is an index.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        if is_index(path) { Self::open_index(path) } else { Ok(TensorFile::open(path)?.into()) }
    }

    fn open_index(path: &Path) -> Result<Self, CheckpointError> {
        let Index { weight_map, .. } = json::read_at_most(path, MAX_INDEX_BYTES)?;
        let names: BTreeSet<&String> = weight_map.values().collect();
        let mut files = Vec::new();
        for &name in &names {
            let refusal = |error: fn(PathBuf, String) -> CheckpointError| {
                error(path.to_owned(), name.clone())
            };
            // A name with a folder in it could refer to any file on the computer.
            if !is_plain_name(name) {
                return Err(refusal(|path, shard| CheckpointError::ShardOutside { path, shard }));
            }
            let file = path.with_file_name(name);
            if !files::exists(&file) {
                return Err(refusal(|path, shard| CheckpointError::MissingShard { path, shard }));
            }
            files.push(TensorFile::open(&file)?);
        }
        let mut homes = BTreeMap::new();
        for (at, (name, file)) in names.iter().zip(&files).enumerate() {
            for (tensor, _) in file.tensors() {
                if weight_map.get(tensor) != Some(name) {
                    return Err(CheckpointError::NotInIndex {
                        path: file.path().to_owned(),
                        tensor: tensor.to_owned(),
                    });
                }
                homes.insert(tensor.to_owned(), at);
            }
        }
        match weight_map.into_iter().find(|(tensor, _)| !homes.contains_key(tensor)) {
            Some((tensor, shard)) => {
                let path = path.with_file_name(shard);
                Err(CheckpointError::MissingTensor { path, tensor })
            }
            None => Ok(Self { path: path.to_owned(), files, homes }),
        }
    }

    /// The path of the file or the index.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The paths of the files with tensors, by name.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path().to_owned()).collect()
    }

    /// The file, if there is only one.
    pub(crate) fn only(&self) -> Option<&TensorFile> {
        match self.files.as_slice() {
            [file] => Some(file),
            _ => None,
        }
    }

    /// The name of the format, for people.
    #[cfg(feature = "sae")] // Only `inspect` shows it.
    pub(crate) fn format(&self) -> &'static str {
        self.files.first().map_or("safetensors", TensorFile::format)
    }

    /// Iterates over the tensors' names, in alphabetical order, with shape and element type.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.homes.iter().map(|(name, &at)| {
            let info = self.files[at].info(name).expect("homes lists what the files have");
            (name.as_str(), info)
        })
    }

    /// The shape and element type of the tensor `name`, if there is one.
    pub(crate) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.files[*self.homes.get(name)?].info(name).ok()
    }

    /// The file that has the tensor `name`.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`].
    pub(crate) fn file_of(&self, name: &str) -> Result<&TensorFile, CheckpointError> {
        let home = self.homes.get(name).map(|&at| &self.files[at]);
        home.ok_or_else(|| CheckpointError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
    }
}

impl From<TensorFile> for TensorSource {
    fn from(file: TensorFile) -> Self {
        let homes = file.tensors().map(|(name, _)| (name.to_owned(), 0)).collect();
        Self { path: file.path().to_owned(), files: vec![file], homes }
    }
}

/// Returns whether `name` refers to a file in the same folder on every operating system.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', ':', '\0']) && name != "." && name != ".."
}
