use std::fs;
use std::path::Path;

use crate::DashboardError;

/// The description of a dashboard, which identifies a folder as one.
pub(crate) const ABOUT: &str = "dashboard.json";
/// The maximum size of that description in bytes.
pub(crate) const MAX_ABOUT_BYTES: u64 = 1 << 20;
/// The folder of data files.
pub(crate) const DATA: &str = "data";

/// Returns the names of the entries of `dir`, sorted.
pub(super) fn file_names(dir: &Path) -> Result<Vec<String>, DashboardError> {
    let io = |source| DashboardError::io(dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Returns the folder that contains `path`, which for a bare name is the current one.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
