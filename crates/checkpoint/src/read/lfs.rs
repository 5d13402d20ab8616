//! Git LFS pointers, the short texts in place of files that were not downloaded.

use std::path::Path;

use crate::error::CheckpointError;

/// Returns whether a file that starts with these bytes is a Git LFS pointer.
///
/// ```
/// # use nanoscope_checkpoint::is_lfs_pointer;
/// assert!(is_lfs_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n"));
/// ```
pub fn is_lfs_pointer(start: &[u8]) -> bool {
    start.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// Checks that the file at `path`, which starts with these bytes, is not a pointer.
pub(crate) fn check(path: &Path, start: &[u8]) -> Result<(), CheckpointError> {
    if is_lfs_pointer(start) {
        return Err(CheckpointError::LfsPointer { path: path.to_owned() });
    }
    Ok(())
}
