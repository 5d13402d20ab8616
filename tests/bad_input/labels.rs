//! Labels of features.

use std::fs;

use nanoscope_checkpoint::{CheckpointError, LABELS_FILE, load_sae};
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
        ("label that is no text", br#"{"0": "a", "1": 2}"#, "1: invalid type: integer `2`"),
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
