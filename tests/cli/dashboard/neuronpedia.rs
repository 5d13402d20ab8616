//! The export for Neuronpedia.

use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;
use nanoscope_checkpoint::Labels;
use serde_json::Value;
use tempfile::TempDir;

use super::{data, fixture, float, names, success};

#[test]
fn an_export_has_what_neuronpedia_imports() {
    let dir = TempDir::new().unwrap();
    let exports = dir.path().join("exports");
    let labels = fixture("labels.json");
    let args = [
        "--features",
        "0..12",
        "--neuronpedia",
        exports.to_str().unwrap(),
        "--labels",
        labels.to_str().unwrap(),
    ];
    let out = dir.path().join("pages");
    success(&out, &args);
    success(&out, &args);

    let folder = exports.join("nanoscope-demo/2-resid_post-2048");
    assert_eq!(names(&exports.join("nanoscope-demo")), ["2-resid_post-2048"]);
    assert_eq!(
        names(&folder),
        [
            "activations",
            "explanations",
            "features",
            "model.jsonl",
            "release.jsonl",
            "source.jsonl",
            "sourceset.jsonl"
        ]
    );
    let lines = |path: &str| {
        let mut text = String::new();
        let file = fs::File::open(folder.join(path)).unwrap();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let features = lines("features/batch-0.jsonl.gz");
    assert_eq!(features.len(), 12);
    let pages = data(&out, "features-0");
    for (feature, page) in features.iter().zip(pages.as_array().unwrap()) {
        assert_eq!(feature["index"], page["feature"].to_string());
        assert_eq!(feature["layer"], "2-resid_post-2048");
        for list in ["pos_str", "pos_values", "neg_str", "neg_values"] {
            assert_eq!(feature[list].as_array().unwrap().len(), 10, "{list}");
        }
        assert!((float(&feature["pos_values"][0]) - float(&page["promoted"][0][1])).abs() < 6e-3);
        let heights = feature["freq_hist_data_bar_heights"].as_array().unwrap();
        let fires: u64 = heights.iter().map(|n| n.as_u64().unwrap()).sum();
        let bars = page["histogram"].as_array().unwrap();
        assert_eq!(fires, bars.iter().map(|n| n.as_u64().unwrap()).sum::<u64>());
        assert_eq!(
            feature["logits_hist_data_bar_heights"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap())
                .sum::<u64>(),
            4096
        );
    }
    let activations = lines("activations/batch-0.jsonl.gz");
    let mut ids: Vec<&str> = activations.iter().map(|row| row["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), activations.len());
    assert!(ids.iter().all(|id| id.len() == 25), "{ids:?}");
    for row in &activations {
        let values = row["values"].as_array().unwrap();
        assert_eq!(row["tokens"].as_array().unwrap().len(), values.len());
        let at = row["maxValueTokenIndex"].as_u64().unwrap() as usize;
        assert_eq!(values[at], row["maxValue"]);
        let qualifying = row["qualifyingTokenIndex"].as_u64().unwrap() as usize;
        if float(&row["binMin"]) >= 0.0 {
            let value = float(&values[qualifying]);
            let (low, high) = (float(&row["binMin"]) - 1e-3, float(&row["binMax"]) + 1e-3);
            assert!(low <= value && value <= high, "{row}");
        }
    }

    // Automatic labels are not exported as explanations. Our own reader reads the others back.
    let read = Labels::read(&folder, 2048).unwrap();
    assert_eq!(read.get(11), Some("a label about snails"));
    assert_eq!(read.get(5), Some("</script><script>window.hacked=8</script>"));
    let index = data(&out, "index");
    let labels = index["labels"].as_object().unwrap();
    let labelled = labels.keys().filter(|key| key.parse::<u32>().unwrap() < 12).count();
    assert!(labelled > 0 && read.len() == labelled, "{} of {labelled}", read.len());
    assert!(labelled < 12, "every feature has a label");
}
