use std::path::{Path, PathBuf};

use bytes::Bytes;
use nanoscope_checkpoint::ModelFiles;
use nanoscope_checkpoint::files::MemoryFolder;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::OpenError;

/// The files of a folder, by their paths in it.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Files {
    files: Vec<(String, Bytes)>,
}

#[wasm_bindgen]
impl Files {
    /// No files.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        crate::panic::report();
        Self::default()
    }

    /// Adds a file. The parts of `path` are separated by `/`.
    pub fn add(&mut self, path: String, bytes: Vec<u8>) {
        self.files.push((path, bytes.into()));
    }

    /// Returns whether there is a model, and not only SAEs.
    ///
    /// # Errors
    /// [`OpenError`] if the paths are not those of a folder.
    #[wasm_bindgen(js_name = hasModel)]
    pub fn has_model(&self) -> Result<bool, OpenError> {
        Ok(find_model(self.folder()?.path()).is_ok())
    }
}

impl Files {
    /// The size of all files in bytes.
    pub(crate) fn size(&self) -> usize {
        self.files.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// The files as a folder that loaders read.
    pub(crate) fn folder(&self) -> Result<MemoryFolder, OpenError> {
        Ok(MemoryFolder::new(self.files.iter().map(|(path, bytes)| (path, bytes.clone())))?)
    }

    /// The files that are neither those of the model nor those of its tokenizer.
    pub(crate) fn without(&self, model: &ModelFiles, root: &Path) -> Self {
        let folders = [model.weights.parent(), model.tokenizer.as_deref()];
        let is_other = |(path, _): &&(String, Bytes)| {
            let path = root.join(path);
            !folders.iter().flatten().any(|folder| path.parent() == Some(folder))
        };
        Self { files: self.files.iter().filter(is_other).cloned().collect() }
    }
}

/// The model in the folder `root` or in one directly in it, as folders are that are dropped together.
///
/// # Errors
/// That of `root` if there is none.
pub(crate) fn find_model(root: &Path) -> Result<(PathBuf, ModelFiles), OpenError> {
    let found = |path: PathBuf| ModelFiles::find(&path).map(|files| (path, files));
    let of_root = found(root.to_owned());
    if of_root.is_ok() {
        return Ok(of_root?);
    }
    let mut folders = nanoscope_checkpoint::files::read_dir(root).unwrap_or_default();
    folders.retain(|path| nanoscope_checkpoint::files::is_dir(path));
    let inner = folders.into_iter().find_map(|folder| found(folder).ok());
    Ok(inner.map_or(of_root, Ok)?)
}
