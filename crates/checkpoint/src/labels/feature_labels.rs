//! The labels of an SAE's features.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::CheckpointError;
use crate::labels::label::Label;
use crate::labels::label_text::shown;
use crate::labels::neuronpedia;
use crate::read::json;

/// The file in an SAE's folder that has the labels of its features.
pub const LABELS_FILE: &str = "labels.json";

/// Short texts that describe features of an SAE.
///
/// [`LABELS_FILE`] is a JSON object from the feature's index to its label:
/// `{"417": "size adjectives"}`; null, or the NaN of a table in Python, is no label. Neuronpedia's
/// explanations are read as well, from `explanations.jsonl` or `explanations/batch-*.jsonl`, plain or
/// gzipped: the first one for each feature, unless [`LABELS_FILE`] has a label for it.
///
/// A label is one line in which every character is seen: an invisible one, or one that changes the
/// direction of the text, is replaced by its number, as in `⟨202E⟩`. A text without visible characters
/// becomes an empty label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    labels: BTreeMap<u32, String>,
    /// The file of the SAE, if it was loaded from one.
    sae_file: Option<PathBuf>,
}

impl Labels {
    /// Reads the labels in `dir`. Without a file of labels, the result is empty.
    ///
    /// # Errors
    /// [`CheckpointError`] if a file is invalid, or names a feature that an SAE with `d_sae` features
    /// does not have.
    pub fn read(dir: &Path, d_sae: usize) -> Result<Self, CheckpointError> {
        let mut labels = neuronpedia::read(dir, d_sae)?;
        let path = dir.join(LABELS_FILE);
        if path.is_file() {
            labels.extend(read_entries(&path, d_sae)?);
        }
        Ok(labels.into())
    }

    /// Reads the labels in the file at `path`, which has the format of [`LABELS_FILE`].
    ///
    /// # Errors
    /// As [`read`](Self::read), and if the file does not exist.
    pub fn read_file(path: &Path, d_sae: usize) -> Result<Self, CheckpointError> {
        Ok(read_entries(path, d_sae)?.into())
    }

    /// The labels of the SAE in the file `path`.
    #[must_use]
    pub(crate) fn of_sae(self, path: &Path) -> Self {
        Self { sae_file: Some(path.to_owned()), ..self }
    }

    /// The file of the SAE that the labels belong to, if it was loaded from one.
    pub fn sae_file(&self) -> Option<&Path> {
        self.sae_file.as_deref()
    }

    /// Sets the label of a feature; an empty one removes it.
    pub(super) fn set(&mut self, feature: u32, label: String) {
        if label.is_empty() {
            self.labels.remove(&feature);
        } else {
            self.labels.insert(feature, label);
        }
    }

    /// The label of `feature`, if it has one.
    pub fn get(&self, feature: u32) -> Option<&str> {
        self.labels.get(&feature).map(String::as_str)
    }

    /// Iterates over the features that have a label, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.labels.iter().map(|(&feature, label)| (feature, label.as_str()))
    }

    /// The number of features that have a label.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether no feature has a label.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl From<BTreeMap<u32, String>> for Labels {
    fn from(labels: BTreeMap<u32, String>) -> Self {
        let label = |(feature, label): (u32, String)| (feature, shown(&label));
        Self { labels: labels.into_iter().map(label).collect(), sae_file: None }
    }
}

/// The labels in the file at `path`, those without visible text as empty ones.
pub(super) fn read_entries(
    path: &Path,
    d_sae: usize,
) -> Result<BTreeMap<u32, String>, CheckpointError> {
    let mut labels = BTreeMap::new();
    for (key, Label(label)) in json::read::<BTreeMap<String, Label>>(path)? {
        match key.parse::<u32>() {
            Ok(feature) if (feature as usize) < d_sae => {
                label.and_then(|label| labels.insert(feature, shown(&label)))
            }
            _ => {
                let path = path.to_owned();
                return Err(CheckpointError::LabelOfNoFeature { path, key, d_sae });
            }
        };
    }
    Ok(labels)
}
