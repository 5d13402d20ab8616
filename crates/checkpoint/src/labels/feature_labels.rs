//! The labels of an SAE's features.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::CheckpointError;
use crate::files;
use crate::labels::label::Label;
use crate::labels::label_text::shown;
use crate::labels::neuronpedia::{self, Descriptions};
use crate::read::json;

/// The file in an SAE's folder that has the labels of its features.
pub const LABELS_FILE: &str = "labels.json";

/// Short texts that describe features of an SAE.
///
/// [`LABELS_FILE`] is a JSON object from the feature's index to its label:
/// `{"417": "size adjectives"}`; null, or the NaN of a table in Python, is not a label. Neuronpedia's
/// explanations are read as well, from `explanations.jsonl` and `explanations/batch-*.jsonl`, plain or
/// gzipped: the first one for each feature, unless [`LABELS_FILE`] has a label for it. Those of `nanoscope
/// label` have the same form. The last one for each feature is read, unless another source has one, and a
/// line that was torn at the end of the file is passed over.
///
/// A label is one line in which every character is seen: an invisible one, or one that changes the
/// direction of the text, is replaced by its number, as in `⟨202E⟩`. A text without visible characters
/// becomes an empty label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    texts: BTreeMap<u32, String>,
    /// The features whose label a language model wrote.
    automatic: BTreeSet<u32>,
    /// The file of the SAE, if it was loaded from one.
    sae_file: Option<PathBuf>,
    /// The folder that they were read from.
    dir: Option<PathBuf>,
}

impl Labels {
    /// Reads the labels in `dir`. Without a file of labels, the result is empty.
    ///
    /// # Errors
    /// [`CheckpointError`] if a file is invalid, or names a feature that an SAE with `d_sae` features
    /// does not have.
    pub fn read(dir: &Path, d_sae: usize) -> Result<Self, CheckpointError> {
        let mut labels: Self = neuronpedia::read(dir, d_sae)?.into();
        let path = dir.join(LABELS_FILE);
        if files::is_file(&path) {
            for (feature, label) in read_entries(&path, d_sae)? {
                labels.automatic.remove(&feature);
                labels.texts.insert(feature, label);
            }
        }
        labels.dir = Some(dir.to_owned());
        Ok(labels)
    }

    /// Reads the labels in the file at `path`, which has the format of [`LABELS_FILE`] or, if its name ends
    /// in `.jsonl` or `.jsonl.gz`, of Neuronpedia's explanations.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if the file does not exist.
    pub fn read_file(path: &Path, d_sae: usize) -> Result<Self, CheckpointError> {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if [".jsonl", ".jsonl.gz"].iter().any(|end| name.ends_with(end)) {
            return Ok(neuronpedia::read_file(path, d_sae)?.into());
        }
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

    /// The file of explanations in the folder of these labels, which may not exist; `None` if they were not
    /// read from a folder.
    pub fn explanations_file(&self) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(neuronpedia::FILE))
    }

    /// Sets the label that a person gave a feature; an empty one removes the label.
    pub(super) fn set(&mut self, feature: u32, label: String) {
        self.automatic.remove(&feature);
        if label.is_empty() {
            self.texts.remove(&feature);
        } else {
            self.texts.insert(feature, label);
        }
    }

    /// The label of `feature`, if it has one.
    pub fn get(&self, feature: u32) -> Option<&str> {
        self.texts.get(&feature).map(String::as_str)
    }

    /// Returns whether the label of `feature` was written by a language model: by `nanoscope label`, or in an
    /// explanation of Neuronpedia's with an `explanationModelName`. False for a feature without a label.
    pub fn is_automatic(&self, feature: u32) -> bool {
        self.automatic.contains(&feature)
    }

    /// Iterates over the features that have a label, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.texts.iter().map(|(&feature, label)| (feature, label.as_str()))
    }

    /// The number of features that have a label.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Returns whether no feature has a label.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

impl From<BTreeMap<u32, String>> for Labels {
    fn from(labels: BTreeMap<u32, String>) -> Self {
        Descriptions { labels, automatic: BTreeSet::new() }.into()
    }
}

impl From<Descriptions> for Labels {
    fn from(descriptions: Descriptions) -> Self {
        let Descriptions { labels, automatic } = descriptions;
        let label = |(feature, label): (u32, String)| (feature, shown(&label));
        Self {
            texts: labels.into_iter().map(label).collect(),
            automatic,
            sae_file: None,
            dir: None,
        }
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
