//! nanoscope's folder in the user's cache.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// nanoscope's folder in the user's cache, as the XDG base directory specification defines it.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let from = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(dir) = from("XDG_CACHE_HOME") {
        return Ok(dir.join("nanoscope"));
    }
    let home = from("HOME").context("there is no home folder")?;
    // A system user's home often does not exist on purpose, so it is not created.
    ensure!(home.is_dir(), "the home folder {} does not exist", home.display());
    Ok(home.join(".cache/nanoscope"))
}
