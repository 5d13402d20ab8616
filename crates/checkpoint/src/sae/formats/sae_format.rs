//! The description of a format, and helpers to write one.

use std::path::{Path, PathBuf};

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::files;
use crate::sae::sae_file::SaeFile;

/// A tool's format of SAE files.
#[derive(Debug)]
pub(crate) struct SaeFormat {
    /// The name of the tool, for people.
    pub(crate) name: &'static str,
    /// The file names of the tool. Without them, a format is recognised by the contents of a file.
    pub(crate) layout: Option<Layout>,
    /// Returns the evidence that a file has this format.
    pub(crate) claims: fn(&TensorFile) -> Claim,
    /// Opens a file that was claimed.
    pub(crate) open: fn(TensorFile) -> Result<SaeFile, CheckpointError>,
}

/// The file names of a tool.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The names, for messages.
    pub(crate) names: &'static str,
    /// Returns the files with SAEs in a folder. Of several stages of one training, only the last.
    pub(crate) files: fn(&Folder<'_>) -> Vec<PathBuf>,
    /// A subfolder with stages of one training, or with the weights of one SAE. It is not searched
    /// once the folder itself has an SAE.
    pub(crate) weights_dir: Option<&'static str>,
    /// A subfolder with copies of the folder's own SAE. It is not searched once the folder has that.
    pub(crate) copies_dir: Option<&'static str>,
}

impl Layout {
    /// A layout without special subfolders.
    pub(crate) const fn new(names: &'static str, files: fn(&Folder<'_>) -> Vec<PathBuf>) -> Self {
        Self { names, files, weights_dir: None, copies_dir: None }
    }
}

/// The evidence that a file has a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The file does not have the format.
    None,
    /// Nothing contradicts it, but files of other kinds look the same. Only a person can state it.
    Guess,
    /// Its name, the files beside it, or names and keys that only this tool writes identify it.
    Evidence,
}

impl Claim {
    pub(crate) fn evidence(is_claimed: bool) -> Self {
        if is_claimed { Self::Evidence } else { Self::None }
    }
}

/// The paths directly in a folder.
pub(crate) struct Folder<'a> {
    pub(crate) paths: &'a [PathBuf],
}

impl<'a> Folder<'a> {
    /// Returns the file of this name.
    pub(crate) fn file(&self, wanted: &str) -> Option<&'a Path> {
        let mut paths = self.paths.iter().map(PathBuf::as_path);
        paths.find(|path| file_name(path) == Some(wanted) && files::is_file(path))
    }

    /// Returns the file of this name as a list.
    pub(crate) fn files(&self, wanted: &str) -> Vec<PathBuf> {
        self.file(wanted).into_iter().map(Path::to_owned).collect()
    }

    /// Returns the path with the highest step, which `step` parses from a name.
    pub(crate) fn latest(&self, step: fn(&str) -> Option<u64>) -> Option<&'a Path> {
        let steps = self.paths.iter().filter_map(|path| Some((step(file_name(path)?)?, path)));
        steps.max().map(|(_, path)| path.as_path())
    }
}

/// The last part of a path.
pub(crate) fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}
