//! Checks that a folder can be written.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use nanoscope_checkpoint::TemporaryFolder;

/// Checks that files can be created in the folder `dir`, or that it can be created itself.
pub(crate) fn check_folder(dir: &Path) -> Result<()> {
    probe(dir).with_context(|| format!("could not write to {}", dir.display()))
}

fn probe(dir: &Path) -> io::Result<()> {
    let whole = std::path::absolute(dir)?;
    let exists = |path: &&Path| path.symlink_metadata().is_ok();
    let nearest = whole.ancestors().find(exists).unwrap_or(Path::new("/"));
    // The error names the temporary folder, which nobody asked for.
    TemporaryFolder::create(nearest).map(drop).map_err(|error| error.kind().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_found_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();

        check_folder(dir.path()).unwrap();
        check_folder(&dir.path().join("new/and/deeper")).unwrap();
        for place in ["file", "file/inside"] {
            let error = check_folder(&dir.path().join(place)).unwrap_err();
            assert!(error.to_string().starts_with("could not write to "), "{error}");
            assert!(!format!("{error:#}").contains(".nanoscope-"), "{error:#}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
