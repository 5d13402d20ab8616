//! Where a store's model and texts were when it was written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{python_json, write_through};
use serde::{Deserialize, Serialize};

use super::manifest::StorePart;
use crate::CorpusError;

/// Where a store's model and texts were when it was written, for commands on the same model and texts.
///
/// This is not part of the store: its manifests identify the model and the text by their content, and are
/// the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedFrom {
    /// The model; `None` for the built-in demo.
    pub model: Option<PathBuf>,
    /// The tokenizer's folder, if it was given.
    pub tokenizer: Option<PathBuf>,
    /// The model's era, if it was given.
    pub era: Option<String>,
    /// The files, folders and URLs with text.
    pub text: Vec<PathBuf>,
    /// The field or column with the text.
    pub text_column: String,
    /// True if a line without a text was an error.
    pub strict: bool,
    /// Maximum size of a document in bytes.
    pub max_document_bytes: usize,
}

/// The file's name in the folder of a store.
pub(super) const NAME: &str = "collected_from.json";

impl CollectedFrom {
    /// Writes this to the store in `dir`, of which `part` is being written, with absolute paths; a model's name
    /// in Hugging Face's cache and the URL of a text stay. A path that is not UTF-8 cannot be written, and nothing
    /// is.
    ///
    /// # Errors
    /// [`CorpusError::Io`], [`CorpusError::Checkpoint`].
    pub fn write(&self, dir: &Path, part: StorePart) -> Result<(), CorpusError> {
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).map_err(|source| CorpusError::io(path, source))
        };
        let existing =
            |path: &PathBuf| if path.exists() { absolute(path) } else { Ok(path.clone()) };
        let whole = Self {
            model: self.model.as_ref().map(existing).transpose()?,
            tokenizer: self.tokenizer.as_ref().map(absolute).transpose()?,
            text: self.text.iter().map(existing).collect::<Result<_, _>>()?,
            ..self.clone()
        };
        let Ok(mut text) = serde_json::to_vec_pretty(&whole) else { return Ok(()) };
        text.push(b'\n');
        let path = dir.join(NAME);
        // Other parts may write the file at the same moment, so each has a temporary name of its own.
        let partial = format!("{}-of-{}.partial", part.index, part.count);
        Ok(write_through(&path.with_added_extension(partial), &path, &text)?)
    }

    /// Reads this from the store in `dir`; `None` if it is not there.
    ///
    /// # Errors
    /// [`CorpusError::Io`]; [`CorpusError::Manifest`] if it is damaged.
    pub fn read(dir: &Path) -> Result<Option<Self>, CorpusError> {
        let path = dir.join(NAME);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| CorpusError::io(&path, source))?,
        };
        let damaged = |error: serde_json::Error| CorpusError::Manifest {
            path: path.clone(),
            what: error.to_string(),
        };
        python_json::from_slice(&text).map(Some).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn paths_are_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let from = CollectedFrom {
            model: Some("src/lib.rs".into()),
            tokenizer: None,
            era: None,
            text: vec!["/texts/a b.txt".into()],
            text_column: "text".to_owned(),
            strict: false,
            max_document_bytes: 9,
        };
        assert_eq!(CollectedFrom::read(dir.path()).unwrap(), None);

        let part = StorePart { index: 0, count: 1 };
        from.write(dir.path(), part).unwrap();

        let read = CollectedFrom::read(dir.path()).unwrap().unwrap();
        assert_eq!(read.model, Some(std::path::absolute("src/lib.rs").unwrap()));
        assert_eq!(CollectedFrom { model: from.model.clone(), ..read }, from);

        let cached = CollectedFrom { model: Some("google/gemma-2-2b".into()), ..from };
        cached.write(dir.path(), part).unwrap();
        assert_eq!(CollectedFrom::read(dir.path()).unwrap(), Some(cached.clone()));

        let remote = CollectedFrom { text: vec!["s3://bucket/a b".into()], ..cached };
        remote.write(dir.path(), part).unwrap();
        assert_eq!(CollectedFrom::read(dir.path()).unwrap(), Some(remote));
    }
    #[test]
    fn parts_that_begin_together_all_write_it() {
        let dir = tempfile::tempdir().unwrap();
        let from = CollectedFrom {
            model: None,
            tokenizer: None,
            era: None,
            text: vec!["/texts".into()],
            text_column: "text".to_owned(),
            strict: false,
            max_document_bytes: 9,
        };
        let begin = Barrier::new(4);

        thread::scope(|threads| {
            for index in 0..4 {
                let (from, dir, begin) = (&from, dir.path(), &begin);
                threads.spawn(move || {
                    for _ in 0..50 {
                        begin.wait();
                        from.write(dir, StorePart { index, count: 4 }).unwrap();
                    }
                });
            }
        });

        assert_eq!(CollectedFrom::read(dir.path()).unwrap(), Some(from));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
