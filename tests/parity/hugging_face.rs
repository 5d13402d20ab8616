//! Models written by transformers, beyond the tests that cover all of [`golden::NANOCHAT`].

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{LoadedModel, load_tokenizer, save_model};
use nanoscope_runtime::{InterpretableModel, Plan, Sampling};
use nanoscope_transformer::{Era, Gpt, Logits, RopeTables, TokenBatch};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::golden::{self, Golden, assert_same, largest_error, values};

const ALL: [Golden; 3] = [
    Golden::new("../hf/single", Era::E0),
    Golden::new("../hf/bf16", Era::E0),
    Golden::new("../hf/other", Era::E0),
];

/// The least change of some logit if an era's constant replaced the file's; the largest error without
/// that is 2e-6.
const ANOTHER_MODEL: f32 = 1e-4;

fn sharded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hf/sharded")
}

fn logits(model: &Gpt, tokens: &TokenBatch) -> Vec<f32> {
    values(model.forward(tokens, Logits::All, &mut ()).unwrap())
}

/// The model of `golden` with `key` of its configuration set to `value`.
fn with(golden: Golden, key: &str, value: Json) -> LoadedModel {
    let dir = TempDir::new().unwrap();
    for entry in fs::read_dir(golden.dir()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
    golden::load(dir.path(), None)
}

#[test]
fn greedy_generation_is_that_of_transformers() {
    for golden in ALL {
        let expected = golden.expected();
        let ids = |name: &str| -> Vec<u32> {
            expected.ints(name).values.iter().map(|&id| u32::try_from(id).unwrap()).collect()
        };
        let (prompt, wanted) = (ids("prompt"), ids("greedy"));
        let model = InterpretableModel::new(golden.model().gpt);

        let sampling = Sampling::greedy(wanted.len());
        let generation = model.generate(&prompt, &Plan::new(), &sampling).unwrap();

        let found: Vec<u32> = generation.map(|step| step.token_id).collect();
        assert_eq!(found, wanted, "{golden}");
    }
}

#[test]
fn a_model_in_shards_is_the_same_to_the_bit() {
    let single = ALL[0];
    let whole = single.model().gpt;

    let model = golden::load(&sharded(), None).gpt;

    assert_eq!(model.config(), whole.config());
    let tokens = single.tokens();
    assert_same("sharded", &logits(&model, &tokens), &logits(&whole, &tokens));
}

#[test]
fn our_own_form_names_the_numbers_only_where_they_are_not_the_eras() {
    let names_them = |golden: Golden| {
        let model = golden.model();
        let dir = TempDir::new().unwrap();
        save_model(dir.path(), &model.gpt, model.kind).unwrap();
        fs::read_to_string(dir.path().join("config.json")).unwrap().contains("constants")
    };

    for golden in golden::NANOCHAT {
        assert_eq!(names_them(golden), golden.folder.contains("hf"), "{golden}");
    }
}

#[test]
fn its_numbers_are_the_files_and_not_the_eras() {
    let numbers = |golden: Golden| {
        let model = golden.model().gpt;
        let config = model.config();
        let rope = config.ropes[0];
        assert_eq!(rope.tables, RopeTables::F32);
        (config.mlp.d_mlp, config.norm.epsilon, config.softcap, rope.base)
    };

    assert_eq!(numbers(ALL[0]), (80, 1e-6, Some(15.0), 10_000.0));
    assert_eq!(numbers(ALL[1]), (80, 1e-6, Some(30.0), 10_000.0));
    assert_eq!(numbers(ALL[2]), (48, 1e-2, None, 500_000.0));
}

#[test]
fn each_number_of_the_configuration_shows_in_the_logits() {
    let other = ALL[2];
    let expected = other.expected();
    let wanted = &expected.floats("logits").values;
    let tokens = other.tokens();
    for (key, value) in [
        ("rms_norm_eps", json!(1e-6)),
        ("final_logit_softcapping", json!(15.0)),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 10_000.0})),
    ] {
        let changed = with(other, key, value).gpt;

        let error = largest_error(&logits(&changed, &tokens), wanted);
        assert!(error > ANOTHER_MODEL, "{key}: only {error:.2e} off");
    }
}

#[test]
fn a_configuration_of_before_version_5_means_the_same() {
    let other = ALL[2];
    let dir = TempDir::new().unwrap();
    fs::copy(other.dir().join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let mut config: Json =
        serde_json::from_slice(&fs::read(other.dir().join("config.json")).unwrap()).unwrap();
    let keys = config.as_object_mut().unwrap();
    keys.remove("rope_parameters");
    keys.remove("dtype");
    keys.extend([
        ("rope_theta".to_owned(), json!(500_000)),
        ("rope_scaling".to_owned(), json!(null)),
        ("torch_dtype".to_owned(), json!("float32")),
        ("head_dim".to_owned(), json!(8)),
    ]);
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();

    let found = golden::load(dir.path(), None);

    assert_eq!(found.gpt.config(), other.model().gpt.config());
}

#[test]
fn an_empty_rope_scaling_does_not_hide_rope_parameters() {
    let other = ALL[2];

    let found = with(other, "rope_scaling", json!({})).gpt;

    assert_eq!(found.config(), other.model().gpt.config());
}

#[test]
fn keys_that_are_left_out_have_the_defaults_of_transformers() {
    let single = ALL[0];
    let dir = TempDir::new().unwrap();
    fs::copy(single.dir().join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let config = json!({
        "model_type": "nanochat", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 80,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();

    let found = golden::load(dir.path(), None);

    assert_eq!(found.gpt.config(), single.model().gpt.config());
}

#[test]
fn the_tokenizer_beside_it_is_the_models() {
    let single = ALL[0];
    let files = nanoscope_checkpoint::ModelFiles::find(&single.dir()).unwrap();

    let tokenizer = load_tokenizer(&files.tokenizer.unwrap()).unwrap();

    InterpretableModel::new(single.model().gpt).with_tokenizer(tokenizer).unwrap();
}
