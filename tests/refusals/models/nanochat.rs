//! nanochat checkpoints: their metadata and weights.

use std::fs;

use nanoscope_checkpoint::{CheckpointError, ModelFiles};
use nanoscope_transformer::{ConfigError, Era};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::files::{Checkpoint, load_model};
use crate::refused;

const LM_HEAD: &str = "lm_head.weight";
const C_Q: &str = "transformer.h.2.attn.c_q.weight";

#[test]
fn a_folder_without_a_model_is_refused_by_its_path() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    refused!("empty folder", ModelFiles::find(dir.path()), CheckpointError::NoModel { .. }, [path]);
    refused!(
        "missing folder",
        ModelFiles::find(&dir.path().join("gone")),
        CheckpointError::NoSuchPath { .. },
        [path, "gone: no such file or directory"]
    );
    fs::create_dir_all(dir.path().join("base_checkpoints/d12")).unwrap();
    refused!(
        "checkpoints without a checkpoint",
        ModelFiles::find(dir.path()),
        CheckpointError::NoModel { .. },
        [path]
    );
}

#[test]
fn a_description_that_is_none_is_refused_with_the_place() {
    let meta = |text: &str| {
        let dir = TempDir::new().unwrap();
        Checkpoint::valid().write(dir.path());
        fs::write(dir.path().join("meta_000001.json"), text).unwrap();
        load_model(dir.path(), None)
    };
    let whole = Checkpoint::valid().meta.unwrap().to_string();
    let cases = [
        ("empty meta", "", "EOF while parsing a value at line 1 column 0"),
        ("meta that is not JSON", "{model_config: 1}", "line 1 column 2"),
        ("meta cut off", &whole[..60], "model_config: EOF while parsing"),
        ("meta with more after it", &format!("{whole}}}"), "trailing characters"),
        ("meta without model_config", r#"{"step": 1}"#, "missing field `model_config`"),
        ("model_config that is a list", r#"{"model_config": [1]}"#, "model_config: invalid"),
    ];
    for (case, text, found) in cases {
        refused!(case, meta(text), CheckpointError::Json { .. }, ["meta_000001.json", found]);
    }

    let mut without = Checkpoint::valid();
    without.meta = None;
    refused!(
        "no meta",
        without.load(None),
        CheckpointError::NoConfig { .. },
        ["model_000001.pt", "no configuration"]
    );
}

#[test]
fn a_key_that_is_missing_unknown_or_no_number_is_named() {
    let mut missing = Checkpoint::valid();
    missing.meta.as_mut().unwrap()["model_config"].as_object_mut().unwrap().remove("n_embd");
    refused!(
        "missing key",
        missing.load(None),
        CheckpointError::Json { .. },
        ["meta_000001.json", "missing field `n_embd`"]
    );
    let cases = [
        ("unknown key", "rope_scaling", json!(2), "unknown field `rope_scaling`"),
        (
            "negative size",
            "n_layer",
            json!(-4),
            "model_config.n_layer: invalid value: integer `-4`",
        ),
        ("text for a size", "n_head", json!("four"), "model_config.n_head: invalid type: string"),
        ("fraction for a size", "n_embd", json!(64.5), "model_config.n_embd: invalid type: float"),
        ("size of 1e30", "n_embd", json!(1e30), "model_config.n_embd: invalid type: float"),
        (
            "null for a size",
            "vocab_size",
            Json::Null,
            "model_config.vocab_size: invalid type: null",
        ),
        (
            "number for a pattern",
            "window_pattern",
            json!(4),
            "model_config.window_pattern: invalid",
        ),
    ];
    for (case, key, value, found) in cases {
        refused!(
            case,
            Checkpoint::with_config(key, value).load(None),
            CheckpointError::Json { .. },
            ["meta_000001.json", found, "line 1"]
        );
    }
}

#[test]
fn sizes_that_make_no_model_are_refused_with_key_and_value() {
    let absurd = 1_000_000_000_000_000_000_u64;
    for key in ["sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd"] {
        for value in [0, absurd] {
            refused!(
                format!("{key} of {value}"),
                Checkpoint::with_config(key, json!(value)).load(None),
                CheckpointError::Config { source: ConfigError::Size { .. }, .. },
                ["meta_000001.json", &format!("{key} is {value}, it must be in 1..=")]
            );
        }
    }
    refused!(
        "n_embd no multiple of n_head",
        Checkpoint::with_config("n_head", json!(6)).load(None),
        CheckpointError::Config { source: ConfigError::NotAMultiple { .. }, .. },
        ["meta_000001.json", "n_embd is 64, it must be a multiple of n_head = 6"]
    );
    refused!(
        "n_head no multiple of n_kv_head",
        Checkpoint::with_config("n_kv_head", json!(3)).load(None),
        CheckpointError::Config { source: ConfigError::NotAMultiple { .. }, .. },
        ["meta_000001.json", "n_head is 4, it must be a multiple of n_kv_head = 3"]
    );
    refused!(
        "odd head",
        Checkpoint::with_config("n_head", json!(64)).load(None),
        CheckpointError::Config { .. },
        ["meta_000001.json", "needs an even number of channels", "found 1"]
    );
}

#[test]
fn a_window_pattern_that_is_none_is_refused() {
    let with_pattern = |model: &str, pattern: &str| {
        let mut checkpoint = Checkpoint::golden(model);
        checkpoint.meta.as_mut().unwrap()["model_config"]["window_pattern"] = json!(pattern);
        checkpoint.load(None)
    };
    for pattern in ["SSXL", "", "S L", "長"] {
        refused!(
            format!("window pattern `{pattern}`"),
            with_pattern("head", pattern),
            CheckpointError::Config { source: ConfigError::WindowPattern { .. }, .. },
            ["meta_000001.json", &format!("window_pattern is `{pattern}`")]
        );
    }
    refused!(
        "window pattern in an era without windows",
        with_pattern("old", "SSSL"),
        CheckpointError::Config { source: ConfigError::NoWindows { .. }, .. },
        ["meta_000001.json", "era E0 has no window_pattern", "SSSL"]
    );
}

#[test]
fn a_description_of_another_model_is_refused_with_the_tensor() {
    let sizes = |key, value: usize| Checkpoint::with_config(key, json!(value)).load(None);
    refused!(
        "more layers than there are",
        sizes("n_layer", 6),
        CheckpointError::MissingTensor { .. },
        ["model_000001.pt", "transformer.h.4."]
    );
    refused!(
        "fewer layers than there are",
        sizes("n_layer", 3),
        CheckpointError::UnexpectedTensor { .. },
        ["model_000001.pt", "transformer.h.3.", "era E0"]
    );
    refused!(
        "wider than it is",
        sizes("n_embd", 128),
        CheckpointError::ShapeMismatch { .. },
        ["model_000001.pt", LM_HEAD, "[300, 64]", "[300, 128]"]
    );
    refused!(
        "another vocabulary",
        sizes("vocab_size", 1000),
        CheckpointError::ShapeMismatch { .. },
        ["model_000001.pt", LM_HEAD, "[300, 64]", "64]"]
    );
}

#[test]
fn weights_that_are_not_the_models_are_refused_by_name() {
    let mut missing = Checkpoint::valid();
    missing.weights.remove(C_Q);
    refused!(
        "missing weight",
        missing.load(None),
        CheckpointError::MissingTensor { .. },
        ["model_000001.pt", C_Q]
    );
    let mut extra = Checkpoint::valid();
    extra.put("lora.weight", &[3]);
    refused!(
        "weight too many",
        extra.load(None),
        CheckpointError::UnexpectedTensor { .. },
        ["model_000001.pt", "lora.weight", "E0"]
    );
    for (case, shape) in [("transposed", vec![64, 300]), ("flat", vec![300 * 64])] {
        let mut wrong = Checkpoint::valid();
        wrong.put(LM_HEAD, &shape);
        refused!(
            format!("{case} weight"),
            wrong.load(None),
            CheckpointError::ShapeMismatch { .. },
            ["model_000001.pt", LM_HEAD, &format!("{shape:?}"), "[300, 64]"]
        );
    }
    let mut none = Checkpoint::valid();
    none.weights.clear();
    refused!(
        "no weights",
        none.load(None),
        CheckpointError::MissingTensor { .. },
        ["model_000001.pt", LM_HEAD]
    );
}

#[test]
fn a_weight_that_is_not_finite_is_refused_with_its_place() {
    // The file has the embedding in the order in which it is used, the projection transposed.
    for (name, at) in [("transformer.wte.weight", 70), (C_Q, 129)] {
        for half in [false, true] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut checkpoint = Checkpoint::valid();
                checkpoint.half = half;
                checkpoint.weights.get_mut(name).unwrap().1[at] = bad;
                refused!(
                    format!("{bad} in {name}{}", if half { ", bf16" } else { "" }),
                    checkpoint.load(None),
                    CheckpointError::NotFinite { .. },
                    ["model_000001.pt", name, &format!("at index {at}")]
                );
            }
        }
    }
}

#[test]
fn an_era_that_lived_for_hours_is_refused_by_its_name() {
    for (key, era) in
        [("value_embed_A.weight", "E2a"), ("value_embed.weight", "E2b"), ("v0_lambdas", "E2c")]
    {
        let mut checkpoint = Checkpoint::golden("mid_aa530cd");
        checkpoint.put(key, &[4]);
        refused!(
            format!("key {key}"),
            checkpoint.load(None),
            CheckpointError::UnsupportedEra { .. },
            ["model_000001.pt", era, "not supported"]
        );
    }
}

#[test]
fn an_era_that_the_weights_contradict_is_refused_with_those_that_they_fit() {
    refused!(
        "E6 asked of E0",
        Checkpoint::valid().load(Some(Era::E6)),
        CheckpointError::EraMismatch { .. },
        ["model_000001.pt", "does not fit era E6", "fit E0, E0p"]
    );
    refused!(
        "E0 asked of E6",
        Checkpoint::golden("head").load(Some(Era::E0)),
        CheckpointError::EraMismatch { .. },
        ["model_000001.pt", "does not fit era E0", "fit E6"]
    );
}
