//! Links between the dashboards of several layers, and the command for steering.

use std::fs;
use std::path::Path;

use nanoscope_checkpoint::load_saes;
use nanoscope_testing::Nanoscope;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{data, files, fixture, float};

/// A run that makes a small dashboard of `layer` in `out`.
fn nanoscope(layer: usize, out: &Path, args: &[&str]) -> Nanoscope {
    let small = ["--features", "0..4", "--tokens", "600", "--compact"];
    crate::nanoscope(&["dashboard", "--hook", &format!("blocks.{layer}.hook_resid_post")])
        .args([Path::new("--text"), &fixture("stories.jsonl"), Path::new("--out"), out])
        .args(small)
        .args(args)
}

fn demo() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

#[test]
fn dashboards_beside_each_other_are_linked_both_ways() {
    let dir = TempDir::new().unwrap();
    let (early, late) = (dir.path().join("early"), dir.path().join("late & new"));

    let first = nanoscope(1, &early, &[]).success().stdout;
    let before = files(&early);
    let second = nanoscope(3, &late, &[]).success().stdout;

    assert!(!first.contains("linked"), "{first}");
    assert!(second.contains("linked with 1 other dashboard beside it\n"), "{second}");
    let link = |folder: &str, layer: usize, fingerprint: &Value| {
        let hook = format!("blocks.{layer}.hook_resid_post");
        json!([{"folder": folder, "hook": hook, "fingerprint": fingerprint, "features": [0, 4]}])
    };
    let fingerprint = |out: &Path| data(out, "index")["about"]["fingerprint"].clone();
    assert_eq!(data(&early, "siblings"), link("late & new", 3, &fingerprint(&late)));
    assert_eq!(data(&late, "siblings"), link("early", 1, &fingerprint(&early)));
    // The list of links is the only file of the other dashboard that changes.
    let siblings = Path::new("data/siblings.js");
    let changed = files(&early).into_iter().filter(|(path, bytes)| before[path] != *bytes);
    assert_eq!(changed.map(|(path, _)| path).collect::<Vec<_>>(), [siblings]);
    // Features lead to the dashboard with the fingerprint of their SAE.
    assert_eq!(data(&early, "index")["others"][2]["fingerprint"], fingerprint(&late));

    // Dashboards of another model are not linked; a dashboard is written again with its links.
    let other = dir.path().join("other");
    let json = nanoscope(2, &other, &["--name", "another", "--json"]).success().stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["siblings"], 0);
    nanoscope(1, &early, &[]).success();
    assert_eq!(data(&early, "siblings"), link("late & new", 3, &fingerprint(&late)));
}

#[test]
fn similar_features_of_other_layers_are_those_of_the_nearest_decoder_rows() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    nanoscope(1, &out, &[]).success();

    let index = data(&out, "index");
    let hooks: Vec<&str> =
        index["others"].as_array().unwrap().iter().map(|o| o["hook"].as_str().unwrap()).collect();
    assert_eq!(hooks, [0, 2, 3].map(|layer| format!("blocks.{layer}.hook_resid_post")));
    let device = nanoscope_device::by_name("auto").unwrap();
    let layer =
        |n: usize| load_saes([demo().join(format!("saes/layer_{n}"))], &device).unwrap().remove(0);
    let (here, there) = (layer(1), layer(3));
    let nearest = there.sae.nearest_to(here.sae.directions(&[0, 1, 2, 3]).unwrap(), 3);
    let pages = data(&out, "features-0");
    let names = &data(&out, "others")[2];
    let mut labelled = 0;
    for (page, nearest) in pages.as_array().unwrap().iter().zip(nearest) {
        let found = page["similar"][2].as_array().unwrap();
        assert_eq!(found.len(), 3);
        for (found, (feature, cosine)) in found.iter().zip(nearest) {
            assert_eq!(found[0], feature);
            assert!((float(&found[1]) - f64::from(cosine)).abs() < 6e-3, "{found}: {cosine}");
            let label = there.labels.get(feature);
            let name = &names[feature.to_string()];
            assert_eq!(name[0].as_str(), label);
            labelled += usize::from(label.is_some());
            assert!(name[1].as_str().unwrap().starts_with("promotes "), "{name}");
        }
        // Features without a page have a name too.
        for other in page["nearest"].as_array().unwrap() {
            let (feature, names) = (other[0].as_u64().unwrap(), &page["names"]);
            let name = &names[feature.to_string()];
            assert_eq!(name.is_null(), feature < 4, "{other}");
            assert!(feature < 4 || name[1].as_str().unwrap().starts_with("promotes "), "{name}");
        }
    }
    assert!(labelled > 0, "no similar feature has a label");
}

#[test]
fn the_command_for_steering_selects_the_same_model_and_sae() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    nanoscope(1, &out, &[]).success();
    assert_eq!(data(&out, "index")["steer"], json!({"flags": "", "strength": "40%"}));

    let sae = dir.path().join("my saes");
    fs::create_dir(&sae).unwrap();
    for file in fs::read_dir(demo().join("saes/layer_1")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), sae.join(file.file_name())).unwrap();
    }
    let model = demo();
    let (model, sae) = (model.to_str().unwrap(), sae.to_str().unwrap());
    nanoscope(1, &out, &["--model", model, "--sae", sae]).success();

    let flags = data(&out, "index")["steer"]["flags"].as_str().unwrap().to_owned();
    let words = shlex::split(&flags).unwrap();
    assert_eq!(words, ["--model", model, "--sae", sae]);
    // One SAE has no other layers.
    assert_eq!(data(&out, "index")["others"], json!([]));
}
