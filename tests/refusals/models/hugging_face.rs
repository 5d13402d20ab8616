//! Models in the layout of Hugging Face's transformers.

use std::fs;
use std::path::Path;

use nanoscope_checkpoint::{CheckpointError, LoadedModel, Order, TensorFile, inspect};
use nanoscope_transformer::Era;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::files::{fixture, floats, load_model};
use crate::refused;

const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";
const EMBEDDING: &str = "model.embed_tokens.weight";
const SHARD: &str = "model-00001-of-00004.safetensors";

/// Copies the model `name` to a new folder.
fn copy(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture("hf").join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

pub(crate) fn change_json(path: &Path, change: impl FnOnce(&mut Json)) {
    let mut json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// Loads the single-file model after `change` to its `config.json`.
fn with_config(change: impl FnOnce(&mut Json)) -> Result<LoadedModel, CheckpointError> {
    let dir = copy("single");
    change_json(&dir.path().join(CONFIG), change);
    load_model(dir.path(), None)
}

/// Loads it with `key` of its `config.json` set to `value`.
fn with_key(key: &str, value: Json) -> Result<LoadedModel, CheckpointError> {
    with_config(|config| config[key] = value)
}

/// Loads the sharded model after `change` to its folder.
fn with_shards(change: impl FnOnce(&Path)) -> Result<LoadedModel, CheckpointError> {
    let dir = copy("sharded");
    change(dir.path());
    load_model(dir.path(), None)
}

/// Loads it after `change` to its index.
fn with_index(change: impl FnOnce(&mut Json)) -> Result<LoadedModel, CheckpointError> {
    with_shards(|dir| change_json(&dir.join(INDEX), change))
}

/// A tensor's shape and values.
type Entry = (Vec<usize>, Vec<f32>);

/// Loads the single-file model after `change` to its weights.
fn with_tensors(
    change: impl FnOnce(&mut Vec<(String, Entry)>),
) -> Result<LoadedModel, CheckpointError> {
    let dir = copy("single");
    let path = dir.path().join(WEIGHTS);
    let file = TensorFile::open(&path).unwrap();
    let entry = |(name, info): (&str, &nanoscope_checkpoint::TensorInfo)| {
        let data = file.read(name, &info.shape, Order::AsStored).unwrap();
        (name.to_owned(), (info.shape.clone(), data.iter::<f32>().collect()))
    };
    let mut entries: Vec<(String, Entry)> = file.tensors().map(entry).collect();
    drop(file);
    change(&mut entries);
    let bytes: Vec<_> =
        entries.iter().map(|(name, (shape, values))| (name, shape, floats(values))).collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap())
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    load_model(dir.path(), None)
}

#[test]
fn the_models_that_are_spoilt_here_are_good_before() {
    with_config(|_| {}).unwrap();
    with_index(|_| {}).unwrap();
    with_tensors(|_| {}).unwrap();
}

#[test]
fn a_model_of_another_type_is_refused_by_its_type() {
    refused!(
        "of another family",
        with_key("model_type", json!("llama")),
        CheckpointError::UnknownValue { .. },
        [CONFIG, "hidden_act is `relu2` (expected "]
    );
    let mamba = json!({"model_type": "mamba", "d_inner": 768, "time_step_rank": 48});
    refused!(
        "a type with keys of its own",
        with_config(|config| *config = mamba),
        CheckpointError::UnknownValue { .. },
        [CONFIG, "model_type is `mamba` (expected nanochat, ", "gemma2"]
    );
    refused!(
        "shards of no type",
        with_shards(|dir| change_json(&dir.join(CONFIG), |config| {
            config.as_object_mut().unwrap().remove("model_type");
        })),
        CheckpointError::Json { .. },
        [CONFIG, "missing field `model_type`"]
    );
    refused!(
        "a type that is not a string",
        with_key("model_type", json!(["nanochat"])),
        CheckpointError::Json { .. },
        [CONFIG, "model_type: invalid type"]
    );
    refused!(
        "both programs' configuration",
        with_key("format", json!("nanoscope-model")),
        CheckpointError::Json { .. },
        [CONFIG, "missing field `version`"]
    );
}

#[test]
fn what_would_be_computed_otherwise_is_refused_by_its_key() {
    let values = [
        ("hidden_act", json!("silu"), "hidden_act is `silu` (expected relu2)"),
        ("attention_bias", json!(true), "attention_bias is `true` (expected false)"),
        ("head_dim", json!(16), "head_dim is `16` (expected hidden_size / num_attention_heads)"),
        (
            "rope_parameters",
            json!({"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}),
            "rope_type is `yarn` (expected default)",
        ),
        (
            "rope_scaling",
            json!({"type": "linear", "factor": 2.0}),
            "rope_type is `linear` (expected default)",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": "high"}),
            "rope_theta is `high` (expected a number)",
        ),
    ];
    for (key, value, says) in values {
        let case = format!("{key} {value}");
        let spoilt = with_key(key, value);
        refused!(case, spoilt, CheckpointError::UnknownValue { .. }, [CONFIG, says]);
    }
    let keys = [
        ("sliding_window", json!(128), "unknown key `sliding_window`"),
        ("quantization_config", json!({"bits": 4}), "unknown key `quantization_config`"),
        ("partial_rotary_factor", json!(0.5), "unknown key `partial_rotary_factor`"),
        (
            "rope_parameters",
            json!({"rope_type": "default", "partial_rotary_factor": 0.5}),
            "unknown key `rope_parameters.partial_rotary_factor`",
        ),
        (
            "rope_parameters",
            json!({"full_attention": {"rope_type": "default"}}),
            "unknown key `rope_parameters.full_attention`",
        ),
    ];
    for (key, value, says) in keys {
        let case = format!("{key} {value}");
        refused!(case, with_key(key, value), CheckpointError::UnknownKey { .. }, [CONFIG, says]);
    }
}

#[test]
fn numbers_that_make_no_model_are_refused_in_transformers_words() {
    let cases = [
        ("num_hidden_layers", json!(0), "num_hidden_layers is 0, it must be in 1..=4096"),
        ("vocab_size", json!(1_u64 << 40), "vocab_size is 1099511627776, it must be in"),
        (
            "intermediate_size",
            json!(u64::MAX),
            "intermediate_size is 18446744073709551615, it must",
        ),
        (
            "hidden_size",
            json!(30),
            "hidden_size is 30, it must be a multiple of num_attention_heads",
        ),
        ("num_key_value_heads", json!(3), "it must be a multiple of num_key_value_heads = 3"),
        ("rms_norm_eps", json!(0), "rms_norm_eps is 0, it must be a positive number"),
        ("rms_norm_eps", json!(1e-60), "rms_norm_eps is 0, it must be a positive number"),
        ("final_logit_softcapping", json!(-15), "final_logit_softcapping is -15, it must be a"),
        ("final_logit_softcapping", json!(1e60), "final_logit_softcapping is inf, it must be"),
        ("rope_parameters", json!({"rope_theta": -1}), "rope_theta is -1, it must be a finite"),
    ];
    for (key, value, says) in cases {
        let case = format!("{key} {value}");
        let spoilt = with_key(key, value);
        refused!(case, spoilt, CheckpointError::Config { .. }, [CONFIG, "is invalid", says]);
    }
    refused!(
        "text for a size",
        with_key("hidden_size", json!("wide")),
        CheckpointError::Json { .. },
        [CONFIG, "invalid type: string \"wide\""]
    );
    refused!(
        "no size",
        with_config(|config| {
            config.as_object_mut().unwrap().remove("intermediate_size");
        }),
        CheckpointError::Json { .. },
        [CONFIG, "missing field `intermediate_size`"]
    );
    let dir = copy("single");
    fs::write(dir.path().join(CONFIG), format!("{{\"a\": \"{}\"}}", "b".repeat(1 << 20))).unwrap();
    refused!(
        "description of a mebibyte, of no type",
        load_model(dir.path(), None),
        CheckpointError::Json { .. },
        [CONFIG]
    );
    refused!(
        "description of a mebibyte",
        with_key("architectures", json!("b".repeat(1 << 20))),
        CheckpointError::FileTooLarge { .. },
        [CONFIG, "more than 1048576 bytes"]
    );
}

#[test]
fn sizes_that_the_weights_do_not_have_are_refused_by_the_tensor() {
    refused!(
        "more layers",
        with_key("num_hidden_layers", json!(4096)),
        CheckpointError::MissingTensor { .. },
        [WEIGHTS, "model.layers.3."]
    );
    refused!(
        "a wider MLP",
        with_key("intermediate_size", json!(1 << 22)),
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, "model.layers.0.mlp.fc1.weight", "[80, 32]", "[4194304, 32]"]
    );
    refused!(
        "a tied unembedding that is there",
        with_key("tie_word_embeddings", json!(true)),
        CheckpointError::UnexpectedTensor { .. },
        [WEIGHTS, "`lm_head.weight`", "era E0"]
    );
    refused!(
        "another era",
        load_model(copy("single").path(), Some(Era::E4b)),
        CheckpointError::EraMismatch { .. },
        [CONFIG, "does not fit era E4b: its weights fit E0"]
    );
    refused!(
        "an inspection of what cannot be loaded",
        {
            let dir = copy("single");
            change_json(&dir.path().join(CONFIG), |config| config["vocab_size"] = json!(301));
            inspect(dir.path(), None)
        },
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, "lm_head.weight", "[300, 32]", "[301, 32]"]
    );
}

#[test]
fn weights_that_are_not_the_models_are_refused_by_name() {
    refused!(
        "missing weight",
        with_tensors(|tensors| tensors.retain(|(name, _)| name != EMBEDDING)),
        CheckpointError::MissingTensor { .. },
        [WEIGHTS, EMBEDDING]
    );
    refused!(
        "weight too many",
        with_tensors(|tensors| {
            let bias = "model.layers.0.self_attn.q_proj.bias";
            tensors.push((bias.to_owned(), (vec![32], vec![0.0; 32])));
        }),
        CheckpointError::UnexpectedTensor { .. },
        [WEIGHTS, "q_proj.bias"]
    );
    refused!(
        "weight of another shape",
        with_tensors(|tensors| {
            let (_, entry) = tensors.iter_mut().find(|(name, _)| name == EMBEDDING).unwrap();
            entry.0 = vec![32, 300];
        }),
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, EMBEDDING, "[32, 300]", "[300, 32]"]
    );
    refused!(
        "weight that is not finite",
        with_tensors(|tensors| {
            let (_, entry) = tensors.iter_mut().find(|(name, _)| name == "lm_head.weight").unwrap();
            entry.1[7] = f32::NAN;
        }),
        CheckpointError::NotFinite { at: 7, .. },
        [WEIGHTS, "`lm_head.weight`", "index 7"]
    );
    refused!(
        "nanochat's own names",
        with_tensors(|tensors| {
            for (name, _) in tensors {
                *name = name.replace(EMBEDDING, "transformer.wte.weight");
            }
        }),
        CheckpointError::MissingTensor { .. },
        [WEIGHTS, EMBEDDING]
    );
}

#[test]
fn an_index_that_leads_nowhere_or_elsewhere_is_refused() {
    let outside = fixture("hf/single/model.safetensors");
    for shard in ["../single/model.safetensors", outside.to_str().unwrap(), "a/b", "..", "C:x", ""]
    {
        refused!(
            format!("shard `{shard}`"),
            with_index(|index| index["weight_map"][EMBEDDING] = json!(shard)),
            CheckpointError::ShardOutside { .. },
            [INDEX, shard, "not the name of a file beside it"]
        );
    }
    refused!(
        "shard that is not there",
        with_shards(|dir| fs::remove_file(dir.join(SHARD)).unwrap()),
        CheckpointError::MissingShard { .. },
        [INDEX, SHARD, "which does not exist"]
    );
    refused!(
        "shard that is a folder",
        with_shards(|dir| {
            fs::remove_file(dir.join(SHARD)).unwrap();
            fs::create_dir(dir.join(SHARD)).unwrap();
        }),
        CheckpointError::Io { .. },
        [SHARD, "is a directory"]
    );
    refused!(
        "index as its own shard",
        with_index(|index| index["weight_map"][EMBEDDING] = json!(INDEX)),
        CheckpointError::NotTorch { .. },
        [INDEX, "not a safetensors, npz, npy, GGUF or torch.save file"]
    );
    refused!(
        "tensor in another shard",
        with_index(|index| index["weight_map"][EMBEDDING] = json!(SHARD.replace("01-", "02-"))),
        CheckpointError::NotInIndex { .. },
        [SHARD, EMBEDDING, "the index does not assign"]
    );
    refused!(
        "tensor that the index leaves out",
        with_index(|index| {
            index["weight_map"].as_object_mut().unwrap().remove(EMBEDDING);
        }),
        CheckpointError::NotInIndex { .. },
        [SHARD, EMBEDDING]
    );
    refused!(
        "tensor in no shard",
        with_index(|index| index["weight_map"]["model.norm.weight"] = json!(SHARD)),
        CheckpointError::MissingTensor { .. },
        [SHARD, "model.norm.weight"]
    );
    refused!(
        "index of no tensors",
        with_index(|index| index["weight_map"] = json!({})),
        CheckpointError::MissingTensor { .. },
        [INDEX, "lm_head.weight"]
    );
    refused!(
        "index with a number for a file",
        with_index(|index| index["weight_map"][EMBEDDING] = json!(1)),
        CheckpointError::Json { .. },
        [INDEX, "invalid type: integer `1`"]
    );
    refused!(
        "index with a key that is not known",
        with_index(|index| index["tensor_parallel"] = json!(2)),
        CheckpointError::Json { .. },
        [INDEX, "unknown field `tensor_parallel`"]
    );
    refused!(
        "index without a description beside it",
        with_shards(|dir| fs::remove_file(dir.join(CONFIG)).unwrap()),
        CheckpointError::NoConfig { .. },
        [INDEX, "no configuration"]
    );
    refused!(
        "index of nine mebibytes",
        with_shards(|dir| fs::write(dir.join(INDEX), vec![b' '; 9 << 20]).unwrap()),
        CheckpointError::FileTooLarge { .. },
        [INDEX, "more than 8388608 bytes"]
    );
}

#[test]
fn a_shard_that_is_cut_anywhere_is_refused_by_name() {
    let whole = fs::read(fixture("hf/sharded").join(SHARD)).unwrap();
    for tenth in 1..10 {
        let length = whole.len() * tenth / 10;
        refused!(
            format!("{SHARD} cut to {length} of {} bytes", whole.len()),
            with_shards(|dir| fs::write(dir.join(SHARD), &whole[..length]).unwrap()),
            CheckpointError::Safetensors { .. },
            [SHARD]
        );
    }
}
