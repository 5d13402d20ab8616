//! Parsing of `FILE:KEY`, a tensor in a file.

use std::path::{Path, PathBuf};

/// Splits `FILE` or `FILE:KEY`. An existing file with the whole text as its name wins.
pub(crate) fn split(text: &str) -> (PathBuf, Option<&str>) {
    match text.rsplit_once(':') {
        Some((file, key)) if !Path::new(text).exists() && !key.is_empty() => {
            (PathBuf::from(file), Some(key))
        }
        _ => (PathBuf::from(text), None),
    }
}
