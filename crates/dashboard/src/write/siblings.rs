//! Links between dashboards of one model that are in the same folder, such as one per layer.
//!
//! Each dashboard has a list of the others, because a page opened from disk cannot list a folder. Writing a
//! dashboard also writes the lists of the others.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{CheckpointError, python_json, write_atomically};
use nanoscope_hooks::HookPoint;
use serde::Deserialize;
use serde_json::{Value, json};

use super::data::{FORMAT, VERSION};
use super::layout::{ABOUT, DATA, MAX_ABOUT_BYTES, file_names, parent};
use crate::DashboardError;
use crate::bounded::read_at_most;
use crate::data_script::pack;

/// The name of the data file.
pub(super) const SIBLINGS: &str = "siblings";

/// A dashboard in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sibling {
    hook: HookPoint,
    /// The name of its folder.
    folder: String,
    fingerprint: String,
    features: (u32, u32),
}

/// The `dashboard.json` of a sibling, which may be anyone's.
#[derive(Deserialize)]
struct RawAbout {
    format: String,
    version: u32,
    model: String,
    hook: String,
    fingerprint: String,
    features: (u32, u32),
}

/// Finds the dashboards of the model `name` beside `dir`, in order of their hook points. Links and hidden
/// folders are passed over.
pub(super) fn find(dir: &Path, name: &str) -> Result<Vec<Sibling>, DashboardError> {
    let beside = parent(dir);
    let own = dir.file_name().map(|own| own.to_string_lossy().into_owned());
    let mut siblings: Vec<Sibling> = file_names(beside)?
        .into_iter()
        .filter(|folder| !folder.starts_with('.') && own.as_ref() != Some(folder))
        .filter_map(|folder| sibling(beside, folder, name))
        .collect();
    siblings.sort();
    Ok(siblings)
}

/// Reads the description of the dashboard in `folder`, if it is one of the model `name`.
fn sibling(beside: &Path, folder: String, name: &str) -> Option<Sibling> {
    let dir = beside.join(&folder);
    let is_dir = |dir: &Path| fs::symlink_metadata(dir).is_ok_and(|there| there.is_dir());
    if !is_dir(&dir) || !is_dir(&dir.join(DATA)) {
        return None;
    }
    let about = read_at_most(&dir.join(ABOUT), MAX_ABOUT_BYTES).ok()?;
    let about: RawAbout = python_json::from_slice(&about).ok()?;
    let RawAbout { format, version, model, hook, fingerprint, features } = about;
    let is_known = format == FORMAT && version == VERSION && model == name;
    let hook = hook.parse().ok().filter(|_| is_known)?;
    Some(Sibling { hook, folder, fingerprint, features })
}

/// The list of `siblings` as the pages read it.
pub(super) fn script(siblings: &[Sibling]) -> Vec<u8> {
    let sibling = |sibling: &Sibling| {
        json!({
            "folder": sibling.folder,
            "hook": sibling.hook.to_string(),
            "fingerprint": sibling.fingerprint,
            "features": sibling.features,
        })
    };
    pack(SIBLINGS, &siblings.iter().map(sibling).collect::<Value>())
}

/// Writes the lists of the `siblings` of the dashboard `dir`, which is new. Returns errors for those that
/// could not be written.
pub(super) fn link(dir: &Path, name: &str, siblings: &[Sibling]) -> Vec<CheckpointError> {
    let own = dir.file_name().and_then(|own| own.to_str());
    let Some(new) = own.and_then(|own| sibling(parent(dir), own.to_owned(), name)) else {
        return Vec::new();
    };
    let mut all = siblings.to_vec();
    all.push(new);
    all.sort();
    let mut errors = Vec::new();
    for to in siblings {
        let others: Vec<Sibling> = all.iter().filter(|&other| other != to).cloned().collect();
        let path = parent(dir).join(&to.folder).join(DATA).join(format!("{SIBLINGS}.js"));
        errors.extend(replace(path, &script(&others)).err());
    }
    errors
}

/// Replaces a list. A link at its place, which may lead out of the folder, is left alone.
fn replace(path: PathBuf, list: &[u8]) -> Result<(), CheckpointError> {
    if fs::read(&path).is_ok_and(|there| there == list) {
        return Ok(());
    }
    if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
        let source = std::io::Error::other("it is not a plain file");
        return Err(CheckpointError::Io { path, source });
    }
    write_atomically(&path, list)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::data_script::unpack;

    /// Writes the description of a dashboard to `beside/folder`.
    fn dashboard(beside: &Path, folder: &str, model: &str, hook: &str) -> PathBuf {
        let dir = beside.join(folder);
        fs::create_dir_all(dir.join(DATA)).unwrap();
        let about = json!({
            "format": FORMAT, "version": VERSION, "model": model, "hook": hook,
            "fingerprint": "00000000000000ff", "features": [0, 4],
        });
        fs::write(dir.join(ABOUT), about.to_string()).unwrap();
        dir
    }

    /// The folders that the dashboard `dir` links to.
    fn links(dir: &Path) -> Vec<String> {
        let script = fs::read(dir.join(DATA).join("siblings.js")).unwrap();
        let (name, list) = unpack(&script).unwrap();
        assert_eq!(name, SIBLINGS);
        let folder = |sibling: &Value| sibling["folder"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(folder).collect()
    }

    #[test]
    fn dashboards_of_one_model_link_to_each_other_in_order_of_their_layers() {
        let dir = TempDir::new().unwrap();
        let late = dashboard(dir.path(), "a", "m", "blocks.10.hook_resid_post");
        let early = dashboard(dir.path(), "b", "m", "blocks.2.hook_resid_post");
        dashboard(dir.path(), "other model", "n", "blocks.0.hook_resid_post");
        dashboard(dir.path(), ".hidden", "m", "blocks.0.hook_resid_post");
        dashboard(dir.path(), "no hook point", "m", "blocks.x");
        fs::create_dir(dir.path().join("empty")).unwrap();
        let new = dashboard(dir.path(), "c", "m", "blocks.3.hook_resid_post");

        let found = find(&new, "m").unwrap();
        let errors = link(&new, "m", &found);
        fs::write(new.join(DATA).join("siblings.js"), script(&found)).unwrap();

        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(links(&new), ["b", "a"]);
        assert_eq!(links(&early), ["c", "a"]);
        assert_eq!(links(&late), ["b", "c"]);
        assert!(!dir.path().join("other model/data/siblings.js").exists());
    }

    #[cfg(unix)]
    #[test]
    fn no_file_outside_of_a_dashboard_is_written() {
        use std::os::unix::fs::symlink;

        let dir = TempDir::new().unwrap();
        let thesis = dir.path().join("thesis");
        fs::write(&thesis, "years of work").unwrap();
        let trap = dashboard(dir.path(), "trap", "m", "blocks.0.hook_resid_post");
        symlink(&thesis, trap.join(DATA).join("siblings.js")).unwrap();
        let elsewhere = TempDir::new().unwrap();
        dashboard(elsewhere.path(), "far", "m", "blocks.1.hook_resid_post");
        symlink(elsewhere.path().join("far"), dir.path().join("near")).unwrap();
        let new = dashboard(dir.path(), "new", "m", "blocks.3.hook_resid_post");

        let found = find(&new, "m").unwrap();
        let errors = link(&new, "m", &found);

        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(errors.len(), 1);
        let reason = std::error::Error::source(&errors[0]).unwrap().to_string();
        assert!(reason.contains("not a plain file"), "{reason}");
        assert_eq!(fs::read_to_string(thesis).unwrap(), "years of work");
        assert!(!elsewhere.path().join("far/data/siblings.js").exists());
    }
}
