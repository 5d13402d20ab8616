use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nanoscope_tokenizer::Tokenizer;
use serde_json::Value;

use crate::DashboardError;
use crate::dashboard::Dashboard;
use crate::pack::pack;
use crate::view::{FORMAT, PER_FILE, about, chunk, index};

/// The files that are the same in every dashboard.
const FILES: [(&str, &str); 8] = [
    ("index.html", include_str!("page/index.html")),
    ("style.css", include_str!("page/style.css")),
    ("data.js", include_str!("page/data.js")),
    ("labels.js", include_str!("page/labels.js")),
    ("draw.js", include_str!("page/draw.js")),
    ("list.js", include_str!("page/list.js")),
    ("feature.js", include_str!("page/feature.js")),
    ("main.js", include_str!("page/main.js")),
];
/// What the dashboard is of, by which we know our own.
const ABOUT: &str = "dashboard.json";
/// The folder of the packed data.
const DATA: &str = "data";
/// What a person may put there.
const LABELS: &str = "labels.json";

impl Dashboard {
    /// Writes the folder of pages `dir`, whole or not at all; `name` is the model's.
    ///
    /// A dashboard of ours that is there is replaced, and its `labels.json`, if somebody put one
    /// there, is kept. Gives the page to open.
    ///
    /// # Errors
    /// [`DashboardError::NotOurs`] if something else is there, [`DashboardError::Io`].
    pub fn write(
        &self,
        dir: &Path,
        name: &str,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<PathBuf, DashboardError> {
        check_place(dir)?;
        let beside = parent(dir);
        let io = |source| DashboardError::io(beside, source);
        fs::create_dir_all(beside).map_err(io)?;
        let temporary = tempfile::Builder::new()
            .prefix(".nanoscope-")
            .tempdir_in(beside)
            .map_err(|source| DashboardError::io(beside, source))?;
        let new = temporary.path().join("new");
        self.fill(&new, name, tokenizer)?;
        let labels = dir.join(LABELS);
        if labels.is_file() {
            let to = new.join(LABELS);
            fs::copy(&labels, &to).map_err(|source| DashboardError::io(&labels, source))?;
        }
        // What was there goes into the folder that is about to vanish, and comes back if the new
        // one cannot take its place.
        let old = temporary.path().join("old");
        let moved = dir.exists();
        if moved {
            fs::rename(dir, &old).map_err(|source| DashboardError::io(dir, source))?;
        }
        if let Err(source) = fs::rename(&new, dir) {
            if moved {
                fs::rename(&old, dir).map_err(|source| DashboardError::io(dir, source))?;
            }
            return Err(DashboardError::io(dir, source));
        }
        Ok(dir.join(FILES[0].0))
    }

    fn fill(
        &self,
        dir: &Path,
        name: &str,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<(), DashboardError> {
        let data = dir.join(DATA);
        fs::create_dir_all(&data).map_err(|source| DashboardError::io(&data, source))?;
        for (file, text) in FILES {
            put(&dir.join(file), text.as_bytes())?;
        }
        let of = serde_json::to_vec_pretty(&about(self, name)).expect("it is a JSON value");
        put(&dir.join(ABOUT), &of)?;
        put(&data.join("index.js"), &pack("index", &index(self, name, tokenizer)))?;
        for (number, pages) in self.features.chunks(PER_FILE).enumerate() {
            let name = format!("features-{number}");
            put(&data.join(format!("{name}.js")), &pack(&name, &chunk(pages)))?;
        }
        Ok(())
    }
}

/// The labels that somebody put into the dashboard at `dir`, if there are any: they go on to the
/// next one that is written there.
pub fn own_labels(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(LABELS)).filter(|path| path.is_file())
}

/// Whether a dashboard can be written to `dir`: nothing is there, an empty folder, or a dashboard.
/// To know before the work is done.
///
/// # Errors
/// [`DashboardError::NotOurs`], [`DashboardError::Io`].
pub fn check_place(dir: &Path) -> Result<(), DashboardError> {
    let io = |source| DashboardError::io(dir, source);
    let not_ours = |found: String| DashboardError::NotOurs { path: dir.to_owned(), found };
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(there) if !there.is_dir() => return Err(not_ours("no folder".to_owned())),
        Ok(_) => {}
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let ours = |name: &String| {
        let page = FILES.iter().any(|(file, _)| file == name);
        page || [ABOUT, DATA, LABELS].contains(&name.as_str())
    };
    if let Some(stranger) = names.iter().find(|&name| !ours(name)) {
        return Err(not_ours(format!("`{stranger}`")));
    }
    let about = dir.join(ABOUT);
    if names.is_empty() || is_about(&about) {
        Ok(())
    } else {
        Err(not_ours(format!("`{}`, and no {ABOUT} that says what it is", names[0])))
    }
}

fn is_about(path: &Path) -> bool {
    let about = fs::read(path).ok();
    let about = about.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    about.is_some_and(|about| about["format"] == FORMAT)
}

/// The folder that `path` is in; of a bare name the current one.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<(), DashboardError> {
    fs::write(path, bytes).map_err(|source| DashboardError::io(path, source))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn only_nothing_or_a_dashboard_is_written_over() {
        let dir = TempDir::new().unwrap();
        let with = |files: &[(&str, &str)]| {
            let place = dir.path().join("place");
            let _ = fs::remove_dir_all(&place);
            fs::create_dir(&place).unwrap();
            files.iter().for_each(|(name, text)| fs::write(place.join(name), text).unwrap());
            check_place(&place).map_err(|error| error.to_string())
        };
        let about = (ABOUT, r#"{"format": "nanoscope dashboard"}"#);

        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&[about, (LABELS, "{}"), ("index.html", "")]), Ok(()));
        assert!(check_place(&dir.path().join("nothing")).is_ok());
        let refused = [
            (vec![("thesis.tex", "")], "`thesis.tex`"),
            (vec![about, ("thesis.tex", "")], "`thesis.tex`"),
            (vec![("index.html", "")], "`index.html`, and no dashboard.json"),
            (vec![(ABOUT, "{}")], "`dashboard.json`, and no dashboard.json that says"),
            (vec![(LABELS, "{}")], "`labels.json`, and no dashboard.json"),
        ];
        for (files, found) in refused {
            let error = with(&files).unwrap_err();
            assert!(error.contains("place is no dashboard of ours"), "{error}");
            assert!(error.contains(found), "{error}");
        }
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(check_place(&dir.path().join("file")).is_err());
    }
}
