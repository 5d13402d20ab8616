//! `nanoscope dashboard` on the built-in demo.

mod content;
mod files;
mod layers;
mod neuronpedia;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_dashboard::unpack;
use nanoscope_hooks::HookPoint;
use nanoscope_testing::Nanoscope;
use serde_json::Value;

const HOOK: HookPoint = HookPoint::ResidPost(2);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dashboard").join(name)
}

/// A run that makes a dashboard of the stories in `out`.
fn nanoscope(out: &Path, args: &[&str]) -> Nanoscope {
    crate::nanoscope(&["dashboard", "--hook", &HOOK.to_string()])
        .args([Path::new("--text"), &fixture("stories.jsonl"), Path::new("--out"), out])
        .args(args)
}

#[track_caller]
fn success(out: &Path, args: &[&str]) -> String {
    nanoscope(out, args).success().stdout
}

#[track_caller]
fn failure(out: &Path, args: &[&str]) -> String {
    nanoscope(out, args).failure().stderr
}

/// The packed data of a dashboard.
fn data(out: &Path, name: &str) -> Value {
    let script = fs::read(out.join("data").join(format!("{name}.js"))).unwrap();
    let (packed, value) = unpack(&script).unwrap();
    assert_eq!(packed, name);
    value
}

/// The contents of all files below `dir` by path.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}
