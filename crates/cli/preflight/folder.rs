//! Checks that a folder can be written.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use nanoscope_checkpoint::{check_folder, folder_behind_links};

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

/// An output folder, which is removed with the folders made for it if the work ends before anything but a
/// lock is in it.
#[derive(Debug)]
pub(crate) struct NewFolder {
    dir: PathBuf,
    /// The folders that did not exist before, the innermost first.
    made: Vec<PathBuf>,
}

/// The name of the lock in the folder of a training run.
const LOCK: &str = "lock";

impl NewFolder {
    /// Creates the folder `dir` if it does not exist.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let is_new = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made = dir.ancestors().take_while(is_new).map(Path::to_owned).collect();
        fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned(), made })
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        let mut names = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        if names.all(|entry| entry.file_name() == LOCK) {
            let _ = fs::remove_file(self.dir.join(LOCK));
        }
        for dir in &self.made {
            // Fails if something is in it, as it should.
            let _ = fs::remove_dir(dir);
        }
    }
}

fn probe(dir: &Path) -> io::Result<()> {
    let whole = std::path::absolute(dir)?;
    let exists = |path: &&Path| path.symlink_metadata().is_ok();
    let nearest = whole.ancestors().find(exists).unwrap_or(Path::new("/"));
    check_folder(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_is_removed_only_if_nothing_came_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let (deep, old) = (dir.path().join("new/and/deep"), dir.path().join("old"));
        fs::create_dir(&old).unwrap();

        drop(NewFolder::create(&old).unwrap());
        assert!(old.is_dir());
        let made = NewFolder::create(&deep).unwrap();
        fs::write(deep.join("lock"), "").unwrap();
        drop(made);
        assert!(!dir.path().join("new").exists());

        let made = NewFolder::create(&deep).unwrap();
        fs::write(deep.join("lock"), "").unwrap();
        fs::write(deep.join("config.toml"), "").unwrap();
        drop(made);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 2);
    }

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
