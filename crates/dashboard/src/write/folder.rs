use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::python_json;
use serde_json::Value;
use tempfile::TempDir;

use super::data::{FEATURES_PER_FILE, FORMAT, about, chunk, index, others};
use super::layout::{ABOUT, DATA, file_names, parent};
use super::page_options::{PageOptions, Written};
use super::siblings::{self, Sibling};
use crate::DashboardError;
use crate::dashboard::Dashboard;
use crate::data_script::pack;

/// The static files, which are the same in every dashboard.
const PAGE_FILES: [(&str, &str); 13] = [
    ("index.html", include_str!("../page/index.html")),
    ("style.css", include_str!("../page/style.css")),
    ("data.js", include_str!("../page/data.js")),
    ("labels.js", include_str!("../page/labels.js")),
    ("draw.js", include_str!("../page/draw.js")),
    ("plot.js", include_str!("../page/plot.js")),
    ("search.js", include_str!("../page/search.js")),
    ("layers.js", include_str!("../page/layers.js")),
    ("list.js", include_str!("../page/list.js")),
    ("steer.js", include_str!("../page/steer.js")),
    ("keys.js", include_str!("../page/keys.js")),
    ("feature.js", include_str!("../page/feature.js")),
    ("main.js", include_str!("../page/main.js")),
];
/// A file of labels that a user may put into the folder.
const LABELS: &str = "labels.json";

impl Dashboard {
    /// Writes the pages to the folder `dir` atomically.
    ///
    /// An existing dashboard is replaced; its `labels.json`, if there is one, is kept. Dashboards of the same
    /// model beside `dir` and the new one link to each other; of those, only the list of links is written.
    ///
    /// # Errors
    /// [`DashboardError::NotReplaceable`] if `dir` is something else, and [`DashboardError::Io`].
    pub fn write(&self, dir: &Path, options: &PageOptions<'_>) -> Result<Written, DashboardError> {
        check_output_dir(dir)?;
        let beside = parent(dir);
        let io = |source| DashboardError::io(beside, source);
        fs::create_dir_all(beside).map_err(io)?;
        let temporary = tempfile::Builder::new()
            .prefix(".nanoscope-")
            .tempdir_in(beside)
            .map_err(|source| DashboardError::io(beside, source))?;
        let new = temporary.path().join("new");
        let siblings = siblings::find(dir, options.name)?;
        self.fill(&new, options, &siblings)?;
        let labels = dir.join(LABELS);
        if labels.is_file() {
            let to = new.join(LABELS);
            fs::copy(&labels, &to).map_err(|source| DashboardError::io(&labels, source))?;
        }
        replace_dir(temporary, dir)?;
        let unlinked = siblings::link(dir, options.name, &siblings);
        Ok(Written { page: dir.join(PAGE_FILES[0].0), siblings: siblings.len(), unlinked })
    }

    fn fill(
        &self,
        dir: &Path,
        options: &PageOptions<'_>,
        siblings: &[Sibling],
    ) -> Result<(), DashboardError> {
        let data = dir.join(DATA);
        fs::create_dir_all(&data).map_err(|source| DashboardError::io(&data, source))?;
        for (file, text) in PAGE_FILES {
            write_file(&dir.join(file), text.as_bytes())?;
        }
        let of = serde_json::to_vec_pretty(&about(self, options.name))
            .expect("a JSON value can be serialized");
        write_file(&dir.join(ABOUT), &of)?;
        write_file(&data.join("index.js"), &pack("index", &index(self, options)))?;
        write_file(&data.join("others.js"), &pack("others", &others(self)))?;
        let list = data.join(format!("{}.js", siblings::SIBLINGS));
        write_file(&list, &siblings::script(siblings))?;
        for (number, pages) in self.features.chunks(FEATURES_PER_FILE).enumerate() {
            let name = format!("features-{number}");
            let pages = pack(&name, &chunk(self, pages));
            write_file(&data.join(format!("{name}.js")), &pages)?;
        }
        Ok(())
    }
}

/// Returns the path of the `labels.json` in the dashboard at `dir`, if there is one. Writing a dashboard
/// keeps it.
pub fn labels_file(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(LABELS)).filter(|path| path.is_file())
}

/// Checks that a dashboard can be written to `dir`: the folder is missing, is empty, or holds a dashboard.
/// Call it before the text is read.
///
/// # Errors
/// [`DashboardError::NotReplaceable`] if `dir` is something else, and [`DashboardError::Io`].
pub fn check_output_dir(dir: &Path) -> Result<(), DashboardError> {
    let io = |source| DashboardError::io(dir, source);
    let refused = |reason: String| DashboardError::NotReplaceable { path: dir.to_owned(), reason };
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(there) if !there.is_dir() => return Err(refused("it is not a folder".to_owned())),
        Ok(_) => {}
    }
    let names = file_names(dir)?;
    let is_known = |name: &str| {
        let page = PAGE_FILES.iter().any(|(file, _)| *file == name);
        (page || [ABOUT, LABELS].contains(&name)) && dir.join(name).is_file()
    };
    for name in names.iter().filter(|name| !is_known(name)) {
        let data = dir.join(DATA);
        if name != DATA || !data.is_dir() {
            return Err(refused(format!("it contains `{name}`")));
        }
        let is_known = |name: &str| {
            ["index.js", "others.js", "siblings.js"].contains(&name)
                || is_numbered(name, "features-", ".js")
        };
        if let Some(other) = file_names(&data)?.iter().find(|name| !is_known(name)) {
            return Err(refused(format!("it contains `{DATA}/{other}`")));
        }
    }
    let about = dir.join(ABOUT);
    if names.is_empty() || is_dashboard(&about) {
        Ok(())
    } else {
        Err(refused(format!("it contains `{}` but no valid {ABOUT}", names[0])))
    }
}

/// Returns whether `name` is a decimal number between `before` and `after`.
pub(crate) fn is_numbered(name: &str, before: &str, after: &str) -> bool {
    let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns whether the file at `path` is the description of a dashboard.
fn is_dashboard(path: &Path) -> bool {
    let about = fs::read(path).ok();
    let about = about.and_then(|text| python_json::from_slice::<Value>(&text).ok());
    about.is_some_and(|about| about["format"] == FORMAT)
}

/// Renames the folder `new` in `temporary` to `dir`. The previous folder is moved to `old` in `temporary` and
/// deleted with it, or moved back if the new one cannot take its place.
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
        // The temporary folder holds the only copy.
        let kept = temporary.keep().join("old");
        return Err(DashboardError::NotRestored { path: dir.to_owned(), kept, source });
    }
    Err(io(source))
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
        let data = ["index", "others", "siblings", "features-12"];
        let data = data.map(|name| format!("data/{name}.js"));
        let data = data.iter().map(|name| (name.as_str(), ""));
        assert_eq!(with(&data.chain([about]).collect::<Vec<_>>()), Ok(()));
        assert!(check_output_dir(&dir.path().join("nothing")).is_ok());
        let refused = [
            (vec![("thesis.tex", "")], "`thesis.tex`"),
            (vec![about, ("thesis.tex", "")], "`thesis.tex`"),
            (vec![about, ("data/thesis.tex", "")], "`data/thesis.tex`"),
            (vec![about, ("data/features-.js", "")], "`data/features-.js`"),
            (vec![about, ("data/features-1/thesis.js", "")], "`data/features-1`"),
            (vec![about, (DATA, "")], "`data`"),
            (vec![about, ("style.css/thesis.tex", "")], "`style.css`"),
            (vec![("index.html", "")], "`index.html` but no valid dashboard.json"),
            (vec![(ABOUT, "{}")], "`dashboard.json` but no valid dashboard.json"),
            (vec![(LABELS, "{}")], "`labels.json` but no valid dashboard.json"),
        ];
        for (files, found) in refused {
            let error = with(&files).unwrap_err();
            assert!(error.contains("place: it contains "), "{error}");
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
        let DashboardError::NotRestored { kept, .. } = &error else { panic!("{error}") };
        assert_eq!(file_names(kept).unwrap(), ["kept"]);
        assert!(error.to_string().contains(kept.to_str().unwrap()), "{error}");
        failing(&[]).unwrap();
        assert!(file_names(&place).unwrap().is_empty());
    }
}
