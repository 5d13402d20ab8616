//! Listing folders.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::CheckpointError;

/// Returns the paths in `dir`, in order of name.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let list = || {
        let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
        entries.collect::<std::io::Result<Vec<_>>>()
    };
    let mut paths = list().map_err(|source| CheckpointError::io(dir, source))?;
    paths.sort();
    Ok(paths)
}
