//! Folders of files that appear together.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::View;

use super::destination::{Destination, copy_owner_and_mode, folder};
use super::safetensors_file::write_safetensors;
use super::temporary::{TemporaryFolder, check_folder, unfinished};
use crate::error::CheckpointError;

/// Checks that the files of an output can be written to the folder `dir`: that it is new, empty, or one
/// for which `is_ours` holds.
///
/// # Errors
/// [`CheckpointError::ForeignFolder`] if it has other content, [`CheckpointError::Io`] if it is not a
/// folder, or nothing can be created in it.
pub fn check_output_folder(
    dir: &Path,
    is_ours: impl FnOnce(&Path) -> bool,
) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::io(dir, source);
    if !is_folder(dir)? {
        return Ok(());
    }
    if let Some(entry) = fs::read_dir(dir).map_err(io)?.next()
        && !is_ours(dir)
    {
        let found = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        return Err(CheckpointError::ForeignFolder { path: dir.to_owned(), found });
    }
    check_folder(dir).map_err(io)
}

/// A folder of output files, filled under a temporary name. A signal or an error before
/// [`OutputFolder::finish`] leaves the previous files as they were.
#[derive(Debug)]
pub(crate) struct OutputFolder {
    dir: PathBuf,
    temporary: TemporaryFolder,
    /// Names of files of an earlier output, which go unless they are written again.
    outdated: Vec<&'static str>,
}

impl OutputFolder {
    /// Begins to write files to the folder `dir`, which is created at the end if needed.
    pub(crate) fn create(dir: &Path) -> Result<Self, CheckpointError> {
        // In an existing folder, because that may be the root of a file system.
        let parent = if is_folder(dir)? { dir } else { folder(dir) };
        let temporary = fs::create_dir_all(parent)
            .and_then(|()| TemporaryFolder::create(parent))
            .map_err(|source| CheckpointError::io(parent, source))?;
        Ok(Self { dir: dir.to_owned(), temporary, outdated: Vec::new() })
    }

    /// Removes the file `name` at the end, unless it is added.
    #[cfg(feature = "gpt")]
    pub(crate) fn without(&mut self, name: &'static str) {
        self.outdated.push(name);
    }

    /// Adds the file `name` with the content `bytes`.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.add(name, |out| out.write_all(bytes))
    }

    /// Adds the safetensors file `name`.
    pub(crate) fn save_tensors<V: View>(
        &self,
        name: &str,
        tensors: impl IntoIterator<Item = (String, V)>,
    ) -> Result<(), CheckpointError> {
        self.add(name, |out| write_safetensors(out, tensors.into_iter().collect()))
    }

    fn add(
        &self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CheckpointError> {
        let write = || {
            let mut out = BufWriter::new(File::create_new(self.temporary.path().join(name))?);
            fill(&mut out)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        };
        write().map_err(|source| CheckpointError::io(&self.dir.join(name), source))
    }

    /// Moves the files to their folder. Files with the same names are replaced; others stay, but for those
    /// that the output is to be without.
    pub(crate) fn finish(self) -> Result<(), CheckpointError> {
        let Self { dir, temporary, outdated } = self;
        let io = |source| CheckpointError::io(&dir, source);
        let mut moves = Vec::new();
        for entry in fs::read_dir(temporary.path()).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = dir.join(entry.file_name());
            let io = |source| CheckpointError::io(&name, source);
            let to = if dir.is_dir() { regular(&name).map_err(io)? } else { name.clone() };
            copy_owner_and_mode(&to, &entry.path()).map_err(io)?;
            moves.push((entry.path(), to));
        }
        // A signal that arrives now is handled after the last file.
        let unfinished = unfinished();
        fs::create_dir_all(&dir).map_err(io)?;
        for (from, to) in &moves {
            fs::rename(from, to).map_err(|source| CheckpointError::io(to, source))?;
        }
        let is_written =
            |path: &Path| moves.iter().any(|(_, to)| to.file_name() == path.file_name());
        for path in outdated.iter().map(|name| dir.join(name)).filter(|path| !is_written(path)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CheckpointError::io(&path, error));
                }
                _ => {}
            }
        }
        drop(unfinished);
        Ok(())
    }
}

/// Returns whether `dir` is a folder, or false if it does not exist.
fn is_folder(dir: &Path) -> Result<bool, CheckpointError> {
    match fs::metadata(dir) {
        Ok(there) if there.is_dir() => Ok(true),
        Ok(_) => Err(CheckpointError::io(dir, io::ErrorKind::NotADirectory.into())),
        // A link to a folder that does not exist is not followed: where it would be is not clear.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.is_symlink() => Ok(false),
        Err(error) => Err(CheckpointError::io(dir, error)),
    }
}

/// The file at the end of all links of `path`, which is new or regular.
fn regular(path: &Path) -> io::Result<PathBuf> {
    match Destination::of(path)? {
        Destination::File(target) => Ok(target),
        Destination::Stream(_) | Destination::Stdout => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_together_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("new/folder");
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };

        let folder = OutputFolder::create(&to).unwrap();
        folder.write("a", b"first").unwrap();
        drop(folder);
        assert!(names(&dir.path().join("new")).is_empty(), "an unfinished folder remains");

        for content in ["first", "second"] {
            let folder = OutputFolder::create(&to).unwrap();
            folder.write("a", content.as_bytes()).unwrap();
            folder.write("b", b"").unwrap();
            folder.finish().unwrap();
            assert_eq!(fs::read_to_string(to.join("a")).unwrap(), content);
            fs::write(to.join("other"), "").unwrap();
        }
        assert_eq!(names(&to), ["a", "b", "other"]);
    }

    #[test]
    fn only_a_new_an_empty_or_an_own_folder_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str| {
            check_output_folder(&dir.path().join(name), |dir| dir.join("ours").exists())
                .map_err(|error| error.to_string())
        };
        for folder in ["empty", "own", "foreign"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("own/ours"), "").unwrap();
        fs::write(dir.path().join("own/labels.json"), "").unwrap();
        fs::write(dir.path().join("foreign/thesis.tex"), "").unwrap();

        assert_eq!(check("new"), Ok(()));
        assert_eq!(check("empty"), Ok(()));
        assert_eq!(check("own"), Ok(()));
        assert!(check("foreign").unwrap_err().contains("contains `thesis.tex`"));
        assert!(check("foreign/thesis.tex").is_err());
    }
}
