//! Every reader of JSON takes what Python's `json` module writes.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{
    CheckpointError, ModelFiles, load_sae, load_tokenizer, save_model, save_tokenizer,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A file of JSON in a folder, and the function that reads it.
struct Reader {
    name: &'static str,
    /// Makes the folder.
    make: fn(&Path),
    json: &'static str,
    load: fn(&Path) -> Result<String, CheckpointError>,
    /// A key whose value is not looked at, by the path to it.
    ignored: Option<&'static [&'static str]>,
    /// A key with an integer that is read.
    integer: Option<&'static [&'static str]>,
}

const READERS: [Reader; 14] = [
    Reader {
        name: "nanochat's meta",
        make: |dir| copy("golden/old/base_checkpoints/d4", dir),
        json: "meta_000100.json",
        load: model,
        ignored: Some(&["loop_state", "min_val_bpb"]),
        integer: Some(&["model_config", "n_embd"]),
    },
    Reader {
        name: "our own model",
        make: |dir| {
            let files = ModelFiles::find(&fixture("golden/old")).unwrap();
            let loaded = files.load(&nanoscope_testing::test_device()).unwrap();
            save_model(dir, &loaded.gpt, loaded.kind).unwrap();
        },
        json: "config.json",
        load: model,
        ignored: None,
        integer: Some(&["model_config", "n_layer"]),
    },
    Reader {
        name: "transformers",
        make: |dir| copy("hf/single", dir),
        json: "config.json",
        load: model,
        ignored: Some(&["initializer_range"]),
        integer: Some(&["hidden_size"]),
    },
    Reader {
        name: "an index of shards",
        make: |dir| copy("hf/sharded", dir),
        json: "model.safetensors.index.json",
        load: model,
        ignored: Some(&["metadata", "total_size"]),
        integer: None,
    },
    Reader {
        name: "SAELens",
        make: |dir| copy("saes/saelens/topk", dir),
        json: "cfg.json",
        load: sae,
        ignored: Some(&["metadata", "l1_coefficient"]),
        integer: Some(&["d_in"]),
    },
    Reader {
        name: "SAELens before version 6",
        make: |dir| copy("saes/saelens/flat_standard", dir),
        json: "cfg.json",
        load: sae,
        ignored: Some(&["l1_coefficient"]),
        integer: Some(&["d_sae"]),
    },
    Reader {
        name: "dictionary_learning",
        make: |dir| copy("saes/dictionary-learning/topk", dir),
        json: "trainer_0/config.json",
        load: sae,
        ignored: Some(&["trainer", "sparsity_penalty"]),
        integer: None,
    },
    Reader {
        name: "sparsify",
        make: |dir| copy("saes/sparsify/topk", dir),
        json: "layers.2/cfg.json",
        load: sae,
        ignored: None,
        integer: Some(&["k"]),
    },
    Reader {
        name: "Llama Scope",
        make: |dir| copy("saes/llama-scope/Llama3_1-8B-Base-L15R-8x", dir),
        json: "Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x/hyperparams.json",
        load: sae,
        ignored: Some(&["seed"]),
        integer: Some(&["d_model"]),
    },
    Reader {
        name: "Gemma Scope 2",
        make: |dir| copy("saes/gemma-scope-2/resid_post", dir),
        json: "gemma-scope-2-270m-pt/resid_post/layer_12_width_16k_l0_small/config.json",
        load: sae,
        ignored: Some(&["l0"]),
        integer: None,
    },
    Reader {
        name: "labels",
        make: |dir| {
            copy("saes/saelens/topk", dir);
            fs::write(dir.join("labels.json"), r#"{"1": "a"}"#).unwrap();
        },
        json: "labels.json",
        load: sae,
        ignored: None,
        integer: None,
    },
    Reader {
        name: "explanations",
        make: |dir| {
            copy("saes/saelens/topk", dir);
            let line = r#"{"index": 1, "description": "a"}"#;
            fs::write(dir.join("explanations.jsonl"), line).unwrap();
        },
        json: "explanations.jsonl",
        load: sae,
        ignored: Some(&["scoreV1"]),
        integer: Some(&["index"]),
    },
    Reader {
        name: "Hugging Face's tokenizer",
        make: |dir| copy("hf/single", dir),
        json: "tokenizer.json",
        load: tokenizer,
        ignored: Some(&["model", "unk_token"]),
        integer: Some(&["added_tokens", "0", "id"]),
    },
    Reader {
        name: "our own tokenizer",
        make: |dir| {
            let tokenizer = load_tokenizer(&fixture("golden/old/tokenizer")).unwrap();
            save_tokenizer(dir, &tokenizer).unwrap();
        },
        json: "tokenizer.json",
        load: tokenizer,
        ignored: None,
        integer: None,
    },
];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(path)
}

fn copy(from: &str, to: &Path) {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
            if path.is_dir() {
                all(&path, &to.join(name));
            } else if name != "expected.safetensors" {
                fs::copy(&path, to.join(name)).unwrap();
            }
        }
    }
    all(&fixture(from), to);
}

fn model(dir: &Path) -> Result<String, CheckpointError> {
    let loaded = ModelFiles::find(dir)?.load(&nanoscope_testing::test_device())?;
    Ok(format!("{:?} {:?}", loaded.kind, loaded.gpt.config()))
}

fn sae(dir: &Path) -> Result<String, CheckpointError> {
    let loaded = load_sae(dir, &nanoscope_testing::test_device())?;
    Ok(format!("{:?} {:?} {:?}", loaded.sae.config(), loaded.hooks, loaded.labels))
}

fn tokenizer(dir: &Path) -> Result<String, CheckpointError> {
    let tokenizer = load_tokenizer(dir)?;
    Ok(format!("{:?} {}", tokenizer.encode("Once upon a time").unwrap(), tokenizer.vocab_size()))
}

/// The value at `path`, which is added if it is not there.
fn place<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Value {
    path.iter().fold(value, |value, key| match value {
        Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        Value::Object(entries) => entries.entry(*key).or_insert_with(|| json!({})),
        other => panic!("{key} of {other}"),
    })
}

/// `value` with each whole number as a float.
fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64().unwrap()),
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(entries) => Value::Object(
            entries.into_iter().map(|(key, v)| (key, floats(v))).collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

/// Stands for text that is put in place of it.
const PLACE: &str = "@place@";

#[test]
fn each_reader_takes_json_as_python_writes_it() {
    for Reader { name, make, json, load, ignored, integer } in READERS {
        let dir = TempDir::new().unwrap();
        make(dir.path());
        let path = dir.path().join(json);
        let text = fs::read_to_string(&path).unwrap();
        let expected = load(dir.path()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let value: Value = serde_json::from_str(&text).unwrap();
        let with = |text: &str| {
            fs::write(&path, text).unwrap();
            load(dir.path())
        };
        let same = |case: &str, text: &str| match with(text) {
            Ok(found) => assert_eq!(found, expected, "{name}, {case}"),
            Err(error) => panic!("{name}, {case}: {error:?}"),
        };

        same("a byte order mark", &format!("\u{feff}{text}"));
        // Our own tokenizer is read by the crate of tokenizers, which has its own reader.
        if name != "our own tokenizer" {
            same("floats for whole numbers", &floats(value.clone()).to_string());
        }
        let replaced = |at: &[&str], with: &str| {
            let mut value = value.clone();
            *place(&mut value, at) = json!(PLACE);
            value.to_string().replace(&format!("\"{PLACE}\""), with)
        };
        if let Some(ignored) = ignored {
            for text in ["NaN", "Infinity", "-Infinity", "[{\"a\": NaN}, -Infinity]", "7", "null"] {
                same(&format!("{ignored:?} is {text}"), &replaced(ignored, text));
            }
        }
        if let Some(integer) = integer {
            for text in ["NaN", "Infinity", "-Infinity", "7.5", "1e300"] {
                let found = with(&replaced(integer, text));
                let refused = matches!(
                    found,
                    Err(CheckpointError::Json { .. } | CheckpointError::Explanation { .. })
                );
                assert!(refused, "{name}, {integer:?} is {text}: {found:?}");
            }
        }
    }
}

#[test]
fn a_float_that_is_not_finite_is_read_as_one() {
    let dir = TempDir::new().unwrap();
    copy("hf/single", dir.path());
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["final_logit_softcapping"] = json!(PLACE);
    let text = config.to_string();
    for (number, says) in [("Infinity", "inf"), ("-Infinity", "-inf"), ("NaN", "NaN")] {
        fs::write(&path, text.replace(&format!("\"{PLACE}\""), number)).unwrap();

        let error = model(dir.path()).unwrap_err();

        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(
            source.contains(&format!("final_logit_softcapping is {says}")),
            "{error}: {source}"
        );
    }
}
