//! `nanoscope index`, and the names that other commands have from it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::{failure, lines, nanoscope, scratch, stdout};

/// A copy of the demo's first SAE without its index and its labels, outside of the user's cache.
fn sae() -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in ["cfg.json", "sae_weights.safetensors"] {
        fs::copy(format!("models/demo/saes/layer_0/{file}"), dir.path().join(file)).unwrap();
    }
    dir
}

fn text() -> PathBuf {
    let path = scratch().join("index.txt");
    fs::create_dir_all(scratch()).unwrap();
    let story = "Tom had a dog. The dog ran to the park and found a red ball. ";
    fs::write(&path, story.repeat(20)).unwrap();
    path
}

#[test]
fn an_index_names_every_feature_by_where_it_fires() {
    let (sae, text) = (sae(), text());
    let model = ["--model", "models/demo", "--sae", sae.path().to_str().unwrap()];
    let first_name = || {
        let args = ["generate", "--json", "--max-tokens", "1", "--temperature", "0"];
        let line = lines(&stdout(&[&args[..], &model].concat())).remove(0);
        line["features"]["blocks.0.hook_resid_post"][0].clone()
    };
    let before = first_name();
    assert!(before[2].as_str().unwrap().starts_with("promotes "), "{before}");
    assert_eq!(before[3], true);

    let args = ["index", "--text", text.to_str().unwrap(), "--no-steering", "--json"];
    let made: Value = serde_json::from_str(&stdout(&[&args[..], &model].concat())).unwrap();

    assert_eq!((&made["features"], &made["steering"]), (&2048.into(), &Value::Null));
    let path = PathBuf::from(made["index"].as_str().unwrap());
    assert_eq!(path.parent().unwrap().canonicalize().unwrap(), sae.path().canonicalize().unwrap());
    let after = first_name();
    assert_eq!((&after[0], &after[3]), (&before[0], &true.into()));
    assert_ne!(after[2], before[2]);
    let found = stdout(&[&["features", "--fires-on", "dog"][..], &model].concat());
    assert!(found.contains("fires on ·dog"), "{found}");
}

#[test]
fn a_damaged_index_is_passed_over() {
    let (sae, text) = (sae(), text());
    let model = ["--model", "models/demo", "--sae", sae.path().to_str().unwrap()];
    let args = ["index", "--text", text.to_str().unwrap(), "--no-steering", "--json"];
    let made: Value = serde_json::from_str(&stdout(&[&args[..], &model].concat())).unwrap();
    fs::write(made["index"].as_str().unwrap(), "not an index").unwrap();

    let run = nanoscope(&[&["generate", "--max-tokens", "2"][..], &model].concat()).run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("promotes"), "{}", run.stdout);
    assert!(run.stderr.contains("is not a feature index"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_indexed_is_refused() {
    let text = text();
    let (error, _) = failure(&["index", "--text", "/nonexistent/text.txt"]);
    assert!(error.contains("/nonexistent/text.txt"), "{error}");
    let args = ["index", "--text", text.to_str().unwrap(), "--out", "/tmp/never-written.gz"];
    let (error, _) = failure(&args);
    assert!(error.contains("several SAEs") && error.contains("--hook"), "{error}");
}

#[test]
fn a_training_ends_with_an_index_and_a_measured_strength() {
    let (text, dir) = (text(), TempDir::new().unwrap());
    let out = dir.path().join("run");
    let hook = "blocks.3.hook_resid_post";
    let run = nanoscope(&[
        "train",
        "--text",
        text.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--hook",
        hook,
        "--d-sae",
        "32",
        "--k",
        "4",
        "--steps",
        "3",
        "--batch",
        "64",
        "--context",
        "32",
    ])
    .success();

    assert!(run.stdout.contains(&format!("index of {hook}: 32 features")), "{}", run.stdout);
    assert!(run.stdout.contains("% of the norm"), "{}", run.stdout);
    let sae = out.join(hook).join("final");
    let indexed = fs::read_dir(&sae).unwrap().flatten();
    assert_eq!(
        indexed.filter(|file| file.file_name().to_string_lossy().starts_with("index-")).count(),
        1
    );
}
