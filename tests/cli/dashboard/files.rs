//! The files of a dashboard, and files that are there already.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nanoscope_checkpoint::Labels;
use nanoscope_testing::Outcome;
use serde_json::Value;
use tempfile::TempDir;

use super::{HOOK, data, failure, files, fixture, names, nanoscope, success};
use crate::signal;

/// The first URL in `text` that leads elsewhere, with the text after it. SVG's namespace does not count,
/// and `//` after a space starts a comment.
fn url(text: &str) -> Option<String> {
    let text = text.replace("http://www.w3.org/2000/svg", "");
    let relative = text.match_indices("//").map(|(at, _)| at);
    let relative = relative.filter(|&at| !text[..at].ends_with(char::is_whitespace) && at > 0);
    let schemes = ["http:", "https:", "ws:", "wss:"];
    let at = schemes.iter().filter_map(|scheme| text.find(scheme)).chain(relative).min()?;
    Some(text[at..].chars().take(40).collect())
}

#[test]
fn an_address_is_found_however_it_is_written() {
    for text in ["a https://b", "src=\"//b\"", "url(//b)", "\"HTTP://b\"", "'wss:' + b"] {
        assert!(url(&text.to_lowercase()).is_some(), "{text}");
    }
    assert_eq!(url("f(\"http://www.w3.org/2000/svg\"); // a comment\n/// another"), None);
}

#[test]
fn a_dashboard_that_cannot_be_written_or_held_is_refused_before_the_text_is_read() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();

    let error = failure(&dir.path().join("file/pages"), &["--sae", "no/such/sae"]);
    assert!(error.contains("could not write to "), "{error}");
    let exports = dir.path().join("file/exports");
    let args = ["--sae", "no/such/sae", "--neuronpedia", exports.to_str().unwrap()];
    let error = failure(&dir.path().join("pages"), &args);
    assert!(error.contains("could not write to "), "{error}");
    for exports in ["pages/exports", "pages"] {
        let exports = dir.path().join(exports);
        let args = ["--sae", "no/such/sae", "--neuronpedia", exports.to_str().unwrap()];
        let error = failure(&dir.path().join("pages"), &args);
        assert!(error.contains("--neuronpedia is in the folder of --out"), "{error}");
    }
    if Path::new("/proc/meminfo").exists() {
        let error =
            failure(&dir.path().join("pages"), &["--examples", "65535", "--window", "65535"]);
        assert!(error.contains("the dashboard needs about ") && error.contains("GiB"), "{error}");
        assert!(error.contains("lower it with --features"), "{error}");
    }
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn no_text_of_others_is_in_a_file_as_it_is() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    let labels = fixture("labels.json");
    success(&out, &["--features", "0..12", "--labels", labels.to_str().unwrap()]);

    for (path, bytes) in files(&out) {
        let text = String::from_utf8(bytes).unwrap();
        if !path.starts_with("data") {
            assert_eq!(url(&text.to_lowercase()), None, "{}", path.display());
        }
        assert!(!text.contains("hacked") && !text.contains("Lily"), "{}", path.display());
        if path.starts_with("data") {
            assert!(!text.contains(['<', '>', '&', '\'', '\\']), "{}", path.display());
        }
    }
    let index = data(&out, "index");
    assert_eq!(index["labels"]["3"], "<img src=x onerror=window.hacked=7>");
    assert_eq!(index["labels"]["8"], "quotes ' \" ` & ⟨202E⟩ reversed ⟨2028⟩ line");
    // Automatic labels have a field of their own, which a person's label does not change.
    assert!(index["auto"][3].as_str().unwrap().contains("promotes"));
    let texts: Vec<&str> =
        index["tokens"]["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.contains('<')), "no window has the hostile text");
    let page = String::from_utf8(fs::read(out.join("index.html")).unwrap()).unwrap();
    assert!(page.contains("default-src 'none'"), "{page}");
}

#[test]
fn same_text_and_seed_give_the_same_files() {
    let dir = TempDir::new().unwrap();
    let make = |name: &str, seed: &str| {
        // In folders of their own, because dashboards beside each other are linked.
        let out = dir.path().join(name).join("pages");
        success(&out, &["--features", "0..20", "--seed", seed]);
        files(&out)
    };

    let first = make("a", "1");
    assert!(first == make("b", "1"), "the second is another");
    assert!(first != make("c", "2"), "the seed is not used");
}

#[test]
fn labels_in_the_folder_are_read_and_stay_there() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    let small = ["--features", "0..12", "--tokens", "600"];
    success(&out, &small);
    let own = r#"{"4": "kept <b>", "0": "x", "11": "", "2047": "no page"}"#;
    fs::write(out.join("labels.json"), own).unwrap();

    success(&out, &small);
    let json = success(&out, &[&small[..], &["--json"]].concat());

    assert_eq!(fs::read_to_string(out.join("labels.json")).unwrap(), own);
    assert_eq!(data(&out, "index")["labels"]["4"], "kept <b>");
    // The page offers all labels for download, including removed ones.
    assert_eq!(data(&out, "index")["labels"]["11"], "");
    assert_eq!(data(&out, "index")["labels"]["2047"], "no page");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/saes/layer_2");
    let beside = Labels::read(&beside, 2048).unwrap();
    let all = data(&out, "index")["labels"].as_object().unwrap().len();
    assert!(all >= beside.len(), "{all} labels of {}", beside.len());
    let read = Labels::read(&out, 2048).unwrap();
    assert_eq!(read.get(4), Some("kept <b>"));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["features"], &json["hook"]), (&12.into(), &HOOK.to_string().into()));
    assert!(json["page"].as_str().unwrap().ends_with("pages/index.html"), "{json}");
}

#[test]
fn what_is_no_dashboard_is_left_alone_and_nothing_half_made_stays() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("thesis");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.tex"), "years of work").unwrap();

    let error = failure(&out, &["--features", "0..4", "--tokens", "600"]);
    assert!(error.contains("thesis: it contains `thesis.tex`"), "{error}");
    let new = dir.path().join("pages");
    let error = failure(&new, &["--features", "0..4000"]);
    assert!(
        error.contains("features 0..4000 are not a range of the SAE's features, 0..2048"),
        "{error}"
    );
    // Refused before the text is read.
    let error = failure(&new, &["--features", "0..4000", "--tokens", "1"]);
    assert!(error.contains("features 0..4000 are not a range"), "{error}");
    let error = failure(&new, &["--features", "9..4"]);
    assert!(error.contains("9..4 is empty"), "{error}");
    let error = failure(
        &new,
        &[
            "--name",
            "../up",
            "--neuronpedia",
            dir.path().to_str().unwrap(),
            "--tokens",
            "600",
            "--features",
            "0..4",
        ],
    );
    assert!(error.contains("`../up` is not a folder name"), "{error}");
    assert_eq!(names(&out), ["thesis.tex"]);
    assert_eq!(names(dir.path()), ["thesis"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_was_there() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    success(&out, &["--features", "0..4", "--tokens", "600"]);
    let before = files(&out);

    for name in ["INT", "TERM"] {
        interrupted_by(name, &out, &before);
    }
}

#[cfg(unix)]
fn interrupted_by(name: &str, out: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    // Interrupted twice as late each time, until the program handles the signal itself.
    let mut wait = Duration::from_millis(50);
    loop {
        let run = nanoscope(out, &["--features", "0..2048"])
            .into_command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(wait);
        signal(name, run.id());
        let Outcome { code, stderr: error, .. } = Outcome::new(run.wait_with_output().unwrap());
        assert_ne!(code, Some(0), "{name} never interrupted it: done after {wait:?}");
        assert!(files(out) == *before, "{name} after {wait:?}");
        assert_eq!(names(out.parent().unwrap()), ["pages"], "{name} after {wait:?}");
        // Until it handles the signal, the signal kills it.
        if let Some(code) = code {
            assert!(error.contains("interrupted"), "{name} after {wait:?}: {error}");
            let expected = if name == "INT" { 130 } else { 143 };
            assert_eq!(code, expected, "{name} after {wait:?}");
            break;
        }
        wait *= 2;
    }
}
