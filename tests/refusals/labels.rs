//! Files with labels of features.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use nanoscope_checkpoint::{CheckpointError, LABELS_FILE, LoadedSae, load_sae};
use tempfile::TempDir;

use crate::files::{D_SAE, SaeFile, device};
use crate::refused;

#[test]
fn labels_that_are_not_the_saes_are_refused_by_key() {
    let with_labels = |text: &[u8]| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("best_model.pt");
        fs::write(&path, SaeFile::valid().bytes()).unwrap();
        fs::write(dir.path().join(LABELS_FILE), text).unwrap();
        load_sae(&path, &device())
    };
    let good = with_labels(br#"{"0": "first", "7": "last"}"#).unwrap();
    assert_eq!(good.labels.len(), 2);

    let cases: [(&str, &[u8], &str); 6] = [
        ("labels that are no JSON", b"0: first", "line 1"),
        ("empty labels", b"", "EOF"),
        ("labels in a list", br#"["first"]"#, "expected a map"),
        ("label that is not a string", br#"{"0": "a", "1": 2}"#, "1: invalid type: integer `2`"),
        ("label that is not UTF-8", b"{\"0\": \"\xff\"}", "invalid unicode"),
        ("labels with more after them", b"{} {}", "trailing characters"),
    ];
    for (case, text, found) in cases {
        refused!(case, with_labels(text), CheckpointError::Json { .. }, [LABELS_FILE, found]);
    }
    for key in ["8", "-1", "1.0", "first", "", "4294967296", "99999999999999999999"] {
        refused!(
            format!("label of feature `{key}`"),
            with_labels(format!(r#"{{"{key}": "x"}}"#).as_bytes()),
            CheckpointError::LabelOfNoFeature { d_sae: D_SAE, .. },
            [LABELS_FILE, &format!("`{key}`"), "0 to 7"]
        );
    }
}

/// A folder with an SAE of eight features and these files.
fn with_files(files: &[(&str, &[u8])]) -> Result<LoadedSae, CheckpointError> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("best_model.pt");
    fs::write(&path, SaeFile::valid().bytes()).unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    load_sae(&path, &device())
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

#[test]
fn the_first_explanation_of_a_feature_is_its_label_unless_labels_json_has_one() {
    let first = br#"{"modelId": "m", "layer": "8-res", "index": "10", "description": "no"}"#;
    assert!(with_files(&[("explanations.jsonl", first)]).is_err());
    let first = br#"{"modelId": "m", "layer": "8-res", "index": "1", "description": "a"}

        {"modelId": "m", "layer": "8-res", "index": 2, "description": "b", "embedding": [1]}
        {"modelId": "m", "layer": "8-res", "index": "1", "description": "later"}"#;
    let second = packed(
        br#"{"layer": "8-res", "index": "2", "description": "later"}
        {"layer": "8-res", "index": "3", "description": "c"}"#,
    );
    let files: [(&str, &[u8]); 4] = [
        ("explanations/batch-2.jsonl", first),
        ("explanations/batch-10.jsonl.gz", &second),
        ("explanations/notes.txt", b"not read"),
        (LABELS_FILE, br#"{"3": "by hand"}"#),
    ];

    let labels = with_files(&files).unwrap().labels;

    let found: Vec<_> = (0..4).map(|feature| labels.get(feature)).collect();
    assert_eq!(found, [None, Some("a"), Some("b"), Some("by hand")]);
}

#[test]
fn a_null_or_an_empty_cell_is_no_label() {
    let lines = br#"{"layer": "8-res", "index": "0", "description": null}
        {"layer": "8-res", "index": 1.0, "description": NaN}
        {"layer": "8-res", "index": "2", "description": "b", "score": Infinity}
        {"layer": "8-res", "index": "0", "description": "a"}"#;
    let files: [(&str, &[u8]); 2] = [
        ("explanations.jsonl", lines),
        (LABELS_FILE, b"\xef\xbb\xbf{\"2\": null, \"3\": NaN, \"4\": \"by hand\"}"),
    ];

    let labels = with_files(&files).unwrap().labels;

    let found: Vec<_> = labels.iter().collect();
    assert_eq!(found, [(0, "a"), (2, "b"), (4, "by hand")]);
}

#[test]
fn explanations_that_are_not_the_saes_are_refused_by_line() {
    let good = r#"{"layer": "8-res", "index": "0", "description": "a"}"#;
    let long = format!(r#"{{"index": 1, "description": "{}"}}"#, "a".repeat(1 << 20));
    for (case, line, says) in [
        ("no JSON", "index 1", "expected value"),
        ("a list", "[1]", "invalid length 1"),
        ("no description", r#"{"index": "1"}"#, "missing field `description`"),
        ("no index", r#"{"description": "a"}"#, "missing field `index`"),
        (
            "a description that is a number",
            r#"{"index": "1", "description": Infinity}"#,
            "invalid type: floating point `inf`, expected a string",
        ),
        ("a feature out of range", r#"{"index": "8", "description": "a"}"#, "`8` is not a feature"),
        ("a feature below 0", r#"{"index": -1, "description": "a"}"#, "`-1` is not a feature"),
        ("half a feature", r#"{"index": 1.5, "description": "a"}"#, "`1.5` is not a feature"),
        (
            "another SAE",
            r#"{"layer": "9-res", "index": "1", "description": "a"}"#,
            r#"explanations for "8-res" and for "9-res""#,
        ),
        ("a line without end", &long, "more than 1048576 bytes"),
    ] {
        let text = format!("{good}\n{line}\n");
        for (name, bytes) in [
            ("explanations.jsonl", text.clone().into_bytes()),
            ("explanations/batch-0.jsonl.gz", packed(text.as_bytes())),
        ] {
            refused!(
                format!("explanations: {case}, {name}"),
                with_files(&[(name, &bytes)]),
                CheckpointError::Explanation { line: 2, .. },
                [name, "line 2", says]
            );
        }
    }
    refused!(
        "explanations that are not packed",
        with_files(&[("explanations.jsonl.gz", good.as_bytes())]),
        CheckpointError::Io { .. },
        ["explanations.jsonl.gz", "gzip"]
    );
}
