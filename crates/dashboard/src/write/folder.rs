use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nanoscope_tokenizer::Tokenizer;
use serde_json::Value;
use tempfile::TempDir;

use super::data::{FEATURES_PER_FILE, FORMAT, about, chunk, index};
use crate::DashboardError;
use crate::dashboard::Dashboard;
use crate::data_script::pack;

/// The files that are the same in every dashboard.
const PAGE_FILES: [(&str, &str); 8] = [
    ("index.html", include_str!("../page/index.html")),
    ("style.css", include_str!("../page/style.css")),
    ("data.js", include_str!("../page/data.js")),
    ("labels.js", include_str!("../page/labels.js")),
    ("draw.js", include_str!("../page/draw.js")),
    ("list.js", include_str!("../page/list.js")),
    ("feature.js", include_str!("../page/feature.js")),
    ("main.js", include_str!("../page/main.js")),
];
/// What the dashboard is of, by which we know our own.
pub(crate) const ABOUT: &str = "dashboard.json";
/// The folder of the packed data.
pub(crate) const DATA: &str = "data";
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
        check_output_dir(dir)?;
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
        replace_dir(temporary, dir)?;
        Ok(dir.join(PAGE_FILES[0].0))
    }

    fn fill(
        &self,
        dir: &Path,
        name: &str,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<(), DashboardError> {
        let data = dir.join(DATA);
        fs::create_dir_all(&data).map_err(|source| DashboardError::io(&data, source))?;
        for (file, text) in PAGE_FILES {
            write_file(&dir.join(file), text.as_bytes())?;
        }
        let of = serde_json::to_vec_pretty(&about(self, name)).expect("it is a JSON value");
        write_file(&dir.join(ABOUT), &of)?;
        write_file(&data.join("index.js"), &pack("index", &index(self, name, tokenizer)))?;
        for (number, pages) in self.features.chunks(FEATURES_PER_FILE).enumerate() {
            let name = format!("features-{number}");
            write_file(&data.join(format!("{name}.js")), &pack(&name, &chunk(pages)))?;
        }
        Ok(())
    }
}

/// The labels that somebody put into the dashboard at `dir`, if there are any: they go on to the
/// next one that is written there.
pub fn labels_file(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(LABELS)).filter(|path| path.is_file())
}

/// Whether a dashboard can be written to `dir`: nothing is there, an empty folder, or a dashboard.
/// To know before the work is done.
///
/// # Errors
/// [`DashboardError::NotOurs`], [`DashboardError::Io`].
pub fn check_output_dir(dir: &Path) -> Result<(), DashboardError> {
    let io = |source| DashboardError::io(dir, source);
    let not_ours = |found: String| DashboardError::NotOurs { path: dir.to_owned(), found };
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(there) if !there.is_dir() => return Err(not_ours("no folder".to_owned())),
        Ok(_) => {}
    }
    let names = file_names(dir)?;
    let ours = |name: &str| {
        let page = PAGE_FILES.iter().any(|(file, _)| *file == name);
        (page || [ABOUT, LABELS].contains(&name)) && dir.join(name).is_file()
    };
    for name in names.iter().filter(|name| !ours(name)) {
        let data = dir.join(DATA);
        if name != DATA || !data.is_dir() {
            return Err(not_ours(format!("`{name}`")));
        }
        let ours = |name: &str| name == "index.js" || is_numbered(name, "features-", ".js");
        if let Some(stranger) = self::file_names(&data)?.iter().find(|name| !ours(name)) {
            return Err(not_ours(format!("`{DATA}/{stranger}`")));
        }
    }
    let about = dir.join(ABOUT);
    if names.is_empty() || is_dashboard(&about) {
        Ok(())
    } else {
        Err(not_ours(format!("`{}`, and no {ABOUT} that says what it is", names[0])))
    }
}

/// What is in `dir`, in order.
pub(crate) fn file_names(dir: &Path) -> Result<Vec<String>, DashboardError> {
    let io = |source| DashboardError::io(dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Whether `name` is a number between `before` and `after`.
pub(crate) fn is_numbered(name: &str, before: &str, after: &str) -> bool {
    let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_dashboard(path: &Path) -> bool {
    let about = fs::read(path).ok();
    let about = about.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    about.is_some_and(|about| about["format"] == FORMAT)
}

/// Renames the folder `new` in `temporary` to `dir`. What was there goes to `old` beside it, vanishes
/// with it, and comes back if the new one cannot take its place.
pub(crate) fn replace_dir(temporary: TempDir, dir: &Path) -> Result<(), DashboardError> {
    replace_dir_by(temporary, dir, |from, to| fs::rename(from, to))
}

fn replace_dir_by(
    temporary: TempDir,
    dir: &Path,
    mut rename: impl FnMut(&Path, &Path) -> io::Result<()>,
) -> Result<(), DashboardError> {
    let io = |source| DashboardError::io(dir, source);
    let [new, old] = ["new", "old"].map(|name| temporary.path().join(name));
    let moved = dir.exists();
    if moved {
        rename(dir, &old).map_err(io)?;
    }
    let Err(source) = rename(&new, dir) else { return Ok(()) };
    if moved && rename(&old, dir).is_err() {
        // It is the only one there is.
        let kept = temporary.keep().join("old");
        return Err(DashboardError::NotPutBack { path: dir.to_owned(), kept, source });
    }
    Err(io(source))
}

/// The folder that `path` is in; of a bare name the current one.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DashboardError> {
    fs::write(path, bytes).map_err(|source| DashboardError::io(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nothing_or_a_dashboard_is_written_over() {
        let dir = TempDir::new().unwrap();
        let with = |files: &[(&str, &str)]| {
            let place = dir.path().join("place");
            let _ = fs::remove_dir_all(&place);
            fs::create_dir(&place).unwrap();
            for (name, text) in files {
                fs::create_dir_all(place.join(name).parent().unwrap()).unwrap();
                fs::write(place.join(name), text).unwrap();
            }
            check_output_dir(&place).map_err(|error| error.to_string())
        };
        let about = (ABOUT, r#"{"format": "nanoscope dashboard"}"#);

        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&[about, (LABELS, "{}"), ("index.html", "")]), Ok(()));
        assert_eq!(with(&[about, ("data/index.js", ""), ("data/features-12.js", "")]), Ok(()));
        assert!(check_output_dir(&dir.path().join("nothing")).is_ok());
        let refused = [
            (vec![("thesis.tex", "")], "`thesis.tex`"),
            (vec![about, ("thesis.tex", "")], "`thesis.tex`"),
            (vec![about, ("data/thesis.tex", "")], "`data/thesis.tex`"),
            (vec![about, ("data/features-.js", "")], "`data/features-.js`"),
            (vec![about, ("data/features-1/thesis.js", "")], "`data/features-1`"),
            (vec![about, (DATA, "")], "`data`"),
            (vec![about, ("style.css/thesis.tex", "")], "`style.css`"),
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
        assert!(check_output_dir(&dir.path().join("file")).is_err());
    }
    #[test]
    fn what_was_there_comes_back_or_is_named() {
        let dir = TempDir::new().unwrap();
        let place = dir.path().join("place");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("kept"), "").unwrap();
        let failing = |fails: &[usize]| {
            let temporary = TempDir::new_in(dir.path()).unwrap();
            fs::create_dir(temporary.path().join("new")).unwrap();
            let mut number = 0;
            replace_dir_by(temporary, &place, |from, to| {
                number += 1;
                if fails.contains(&number) {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                fs::rename(from, to)
            })
        };

        for fails in [&[1][..], &[2]] {
            assert!(matches!(failing(fails), Err(DashboardError::Io { .. })), "{fails:?}");
            assert_eq!(file_names(dir.path()).unwrap(), ["place"], "{fails:?}");
            assert_eq!(file_names(&place).unwrap(), ["kept"], "{fails:?}");
        }
        let error = failing(&[2, 3]).unwrap_err();
        let DashboardError::NotPutBack { kept, .. } = &error else { panic!("{error}") };
        assert_eq!(file_names(kept).unwrap(), ["kept"]);
        assert!(error.to_string().contains(kept.to_str().unwrap()), "{error}");
        failing(&[]).unwrap();
        assert!(file_names(&place).unwrap().is_empty());
    }
}
