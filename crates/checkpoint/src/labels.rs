//! What features mean, in words.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::CheckpointError;
use crate::json;

/// The file in an SAE's folder that holds the labels of its features.
pub const LABELS_FILE: &str = "labels.json";

/// A short text per feature, for some features of an SAE.
///
/// The file is a JSON object from the feature's index to its label: `{"417": "size adjectives"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    labels: BTreeMap<u32, String>,
}

impl Labels {
    /// Reads the labels in `dir`; none if there is no such file.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file is no such object, or names a feature that an SAE with
    /// `d_sae` features does not have.
    pub fn read(dir: &Path, d_sae: usize) -> Result<Self, CheckpointError> {
        let path = dir.join(LABELS_FILE);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let labels: BTreeMap<String, String> = json::read(&path)?;
        let labels = labels.into_iter().map(|(key, label)| match key.parse::<u32>() {
            Ok(feature) if (feature as usize) < d_sae => Ok((feature, label)),
            _ => Err(CheckpointError::LabelOfNoFeature { path: path.clone(), key, d_sae }),
        });
        Ok(Self { labels: labels.collect::<Result<_, _>>()? })
    }

    /// The label of `feature`, if it has one.
    pub fn get(&self, feature: u32) -> Option<&str> {
        self.labels.get(&feature).map(String::as_str)
    }

    /// How many features have a label.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether no feature has a label.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}
