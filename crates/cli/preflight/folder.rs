//! Checks that a folder can be written.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nanoscope_checkpoint::{TemporaryFolder, folder_behind_links};

/// Checks that files can be created in the output folder `dir`, or that it can be created itself.
/// Returns the folder at the end of its links, so that a link stays one.
pub(crate) fn output_folder(dir: &Path) -> Result<PathBuf> {
    let found = folder_behind_links(dir).and_then(|found| probe(&found).map(|()| found));
    found.with_context(|| format!("could not write to {}", dir.display()))
}

/// Checks that a folder can be created or replaced at `dir`: that files can be created beside it.
/// Returns the folder at the end of its links.
pub(crate) fn replaceable_folder(dir: &Path) -> Result<PathBuf> {
    let beside = |dir: &Path| -> io::Result<()> {
        let whole = std::path::absolute(dir)?;
        probe(whole.parent().unwrap_or(&whole))
    };
    let found = folder_behind_links(dir).and_then(|found| beside(&found).map(|()| found));
    found.with_context(|| format!("could not write to {}", dir.display()))
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
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_found_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();

        output_folder(dir.path()).unwrap();
        output_folder(&dir.path().join("new/and/deeper")).unwrap();
        for place in ["file", "file/inside"] {
            let error = output_folder(&dir.path().join(place)).unwrap_err();
            assert!(error.to_string().starts_with("could not write to "), "{error}");
            assert!(!format!("{error:#}").contains(".nanoscope-"), "{error:#}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_the_folder_or_its_future_place() {
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink("real", at("link")).unwrap();
        symlink("link", at("link to link")).unwrap();
        symlink("real/new", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();

        for (name, expected) in [
            ("real", "real"),
            ("new", "new"),
            ("link", "real"),
            ("link/", "real"),
            ("link to link", "real"),
            ("dangling", "real/new"),
            ("dangling/", "real/new"),
        ] {
            assert_eq!(output_folder(&at(name)).unwrap(), at(expected), "{name}");
            assert_eq!(replaceable_folder(&at(name)).unwrap(), at(expected), "{name}");
        }
        assert!(output_folder(&at("circle")).is_err());
    }
}
