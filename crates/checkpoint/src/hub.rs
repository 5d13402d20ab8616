//! Hugging Face's cache of repositories, which is read and never changed.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::CheckpointError;
use crate::files;
use crate::read::entries;

/// Returns the files that `path` means: itself, or the snapshot of a repository in the user's cache.
///
/// A path that does not exist is looked up if it starts with a repository's name, `google/gemma-2-2b`, or
/// its folder's, `models--google--gemma-2-2b`. More names after it are a file or folder in the
/// repository. A repository's folder in a cache stands for its snapshot, too.
///
/// # Errors
/// [`CheckpointError::NotInCache`] if the path does not exist, can be the name of a repository, and the
/// cache has no snapshot of that. A path in a folder that exists is not taken for a name.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, CheckpointError> {
    resolve_in(cache().as_deref(), path)
}

/// The folder of the cache: `$HF_HUB_CACHE`, `$HF_HOME/hub` or `~/.cache/huggingface/hub`.
fn cache() -> Option<PathBuf> {
    folder(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let of = |name: &str, below: &str| Some(PathBuf::from(variable(name)?).join(below));
    variable("HF_HUB_CACHE")
        .map(PathBuf::from)
        .or_else(|| of("HF_HOME", "hub"))
        .or_else(|| of("XDG_CACHE_HOME", "huggingface/hub"))
        .or_else(|| of("HOME", ".cache/huggingface/hub"))
        .or_else(|| of("USERPROFILE", ".cache/huggingface/hub"))
}

fn resolve_in(cache: Option<&Path>, path: &Path) -> Result<PathBuf, CheckpointError> {
    if files::is_dir(&path.join(SNAPSHOTS)) && path.file_name().is_some_and(is_folder_name) {
        let cache = path.parent().unwrap_or(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return snapshot(path).ok_or_else(|| not_in_cache(path, &name, Some(cache)));
    }
    if files::exists(path) {
        return Ok(path.to_owned());
    }
    let Some((repository, inside)) = repository(path) else { return Ok(path.to_owned()) };
    let found = cache.and_then(|cache| snapshot(&cache.join(&repository)));
    let is_local = path.iter().next().is_some_and(|first| files::exists(Path::new(first)));
    match found {
        Some(snapshot) => Ok(snapshot.join(inside)),
        // Like any other path that does not exist.
        None if is_local => Ok(path.to_owned()),
        None => Err(not_in_cache(path, &repository, cache)),
    }
}

const PREFIX: &str = "models--";
const SNAPSHOTS: &str = "snapshots";
/// The file with the name of the snapshot that the main branch had when it was last downloaded.
const MAIN: &str = "refs/main";

fn is_folder_name(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

/// Splits a path into the name of a repository's folder, and the rest.
fn repository(path: &Path) -> Option<(String, PathBuf)> {
    let mut parts = Vec::new();
    for part in path.components() {
        let Component::Normal(name) = part else { return None };
        parts.push(name.to_str()?);
    }
    match parts.as_slice() {
        [folder, inside @ ..] if folder.starts_with(PREFIX) => {
            Some(((*folder).to_owned(), inside.iter().collect()))
        }
        [owner, name, inside @ ..] => {
            Some((format!("{PREFIX}{owner}--{name}"), inside.iter().collect()))
        }
        _ => None,
    }
}

/// Returns the snapshot that `refs/main` names, otherwise the newest.
fn snapshot(repository: &Path) -> Option<PathBuf> {
    /// The name of a commit has 40 characters.
    const MAX_NAME_BYTES: u64 = 256;

    let snapshots = repository.join(SNAPSHOTS);
    let main = repository.join(MAIN);
    let is_short = files::metadata(&main).is_ok_and(|main| main.len <= MAX_NAME_BYTES);
    let named = is_short
        .then(|| io::read_to_string(files::open(&main).ok()?).ok())
        .flatten()
        .and_then(|name| {
            let name = name.trim();
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            is_name.then(|| snapshots.join(name)).filter(|folder| files::is_dir(folder))
        });
    named.or_else(|| {
        let folders = entries(&snapshots).ok()?.into_iter().filter(|path| files::is_dir(path));
        let changed = |path: &PathBuf| files::metadata(path).ok()?.modified;
        folders.max_by_key(changed)
    })
}

fn not_in_cache(path: &Path, repository: &str, cache: Option<&Path>) -> CheckpointError {
    CheckpointError::NotInCache {
        name: path.to_owned(),
        repository: repository.to_owned(),
        cache: cache.map(Path::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A cache with a repository of two snapshots, of which `refs/main` names `main`.
    fn made(main: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("models--google--gemma-2-2b");
        for commit in ["aa11", "bb22"] {
            fs::create_dir_all(repository.join("snapshots").join(commit).join("inner")).unwrap();
        }
        fs::create_dir(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), main).unwrap();
        dir
    }

    #[test]
    fn a_repository_in_the_cache_is_found_by_both_names() {
        let dir = made("aa11\n");
        let snapshot = dir.path().join("models--google--gemma-2-2b/snapshots/aa11");
        let found = |path: &str| resolve_in(Some(dir.path()), Path::new(path)).unwrap();

        assert_eq!(found("models--google--gemma-2-2b"), snapshot.join(""));
        assert_eq!(found("google/gemma-2-2b"), snapshot.join(""));
        assert_eq!(found("google/gemma-2-2b/inner"), snapshot.join("inner"));
        let folder = dir.path().join("models--google--gemma-2-2b");
        assert_eq!(resolve_in(None, &folder).unwrap(), snapshot);
    }

    #[test]
    fn a_reference_that_is_no_snapshot_is_passed_over() {
        for main in ["", "cc33", "../../..", "aa11/inner"] {
            let dir = made(main);
            let found = resolve_in(Some(dir.path()), Path::new("google/gemma-2-2b")).unwrap();
            assert!(found.parent().unwrap().ends_with("snapshots"), "{main}: {found:?}");
        }
    }

    #[test]
    fn a_path_that_exists_is_itself_and_a_missing_repository_is_an_error() {
        let dir = made("aa11");
        assert_eq!(resolve_in(Some(dir.path()), dir.path()).unwrap(), dir.path());
        // In a folder that exists, which is the crate's own in tests.
        for missing in ["src/other", "/google/other", "../google/other", "other"] {
            let missing = Path::new(missing);
            assert_eq!(resolve_in(Some(dir.path()), missing).unwrap(), missing);
        }
        for name in ["google/other", "models--google--other", "google/other/inside"] {
            let error = resolve_in(Some(dir.path()), Path::new(name)).unwrap_err();
            assert!(matches!(error, CheckpointError::NotInCache { .. }));
            let text = format!(
                "{name}: no such file or directory, and no models--google--other in Hugging Face's \
                 cache at {}; nothing is downloaded",
                dir.path().display()
            );
            assert_eq!(error.to_string(), text);
            assert!(resolve_in(None, Path::new(name)).is_err());
        }
    }

    #[test]
    fn the_folder_is_the_one_that_hugging_face_uses() {
        let of = |set: &[(&str, &str)]| {
            folder(|name| Some(set.iter().find(|(set, _)| *set == name)?.1.into())).unwrap()
        };
        let home = ("HOME", "/home/me");
        assert_eq!(of(&[home]), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(of(&[home, ("HF_HOME", "/hf")]), Path::new("/hf/hub"));
        let cache = of(&[home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")]);
        assert_eq!(cache.as_os_str(), "/hub");
    }
}
