use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nanoscope_checkpoint::write_atomically;

/// Writes a file as a whole, and the folders in which it lies if they do not exist.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().expect("a file lies in a folder");
    fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
    Ok(write_atomically(path, bytes)?)
}
