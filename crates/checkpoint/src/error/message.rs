//! Parts of error messages.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "gpt")]
use nanoscope_transformer::Era;

#[cfg(feature = "sae")]
use crate::sae::SaeFormatName;

/// Describes a failed operation on a file, without its cause unless that is all there is to say.
#[derive(Debug)]
pub struct IoProblem<'a> {
    /// The file or folder.
    pub path: &'a Path,
    /// The operating system's error.
    pub source: &'a io::Error,
}

impl fmt::Display for IoProblem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.source.kind() {
            io::ErrorKind::NotFound => write!(f, "{path}: no such file or directory"),
            _ => write!(f, "could not read or write {path}"),
        }
    }
}

/// Describes the failed search for the tensor `key`.
pub(super) fn asked_for(key: Option<&str>) -> String {
    key.map_or("no tensor is selected".to_owned(), |key| format!("no tensor `{key}`"))
}

/// Formats the names of several formats.
#[cfg(feature = "sae")]
pub(super) fn all_of(names: &[SaeFormatName], between: &str) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// Formats the first few of `names`.
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names {
        [] => "none".to_owned(),
        _ if names.len() <= SHOWN => names.join(", "),
        _ => format!("{}, and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
    }
}

/// Formats the first few of `all`.
pub(super) fn at_folder(folder: Option<&Path>) -> String {
    folder.map_or(String::new(), |folder| format!(" at {}", folder.display()))
}

pub(super) fn paths(all: &[PathBuf]) -> String {
    some_of(&all.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}

#[cfg(feature = "gpt")]
/// Says which eras the weights of a model fit.
pub(super) fn eras(fits: &[Era]) -> String {
    if fits.is_empty() {
        return "it is not a nanochat model".to_owned();
    }
    let names: Vec<String> = fits.iter().map(ToString::to_string).collect();
    format!("its weights fit {}", names.join(", "))
}
