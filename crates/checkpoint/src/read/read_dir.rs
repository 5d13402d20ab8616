//! Listing folders.

use std::path::{Path, PathBuf};

use crate::error::CheckpointError;
use crate::files;

/// Returns the paths in `dir`, in order of name.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let list = files::read_dir(dir);
    let mut paths = list.map_err(|source| CheckpointError::io(dir, source))?;
    paths.sort();
    Ok(paths)
}
