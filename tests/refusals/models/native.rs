//! Models in our own format, and safetensors files.

use std::fs;
use std::path::Path;

use nanoscope_checkpoint::{
    CheckpointError, LoadedModel, ModelKind, Order, TensorFile, inspect, save_model,
};
use nanoscope_testing::TINY_SHAPE;
use nanoscope_transformer::{ConfigError, Era, Gpt, GptShape};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::files::{device, file, floats, load_model};
use crate::refused;

const WEIGHTS: &str = "model.safetensors";
const WTE: &str = "transformer.wte.weight";

/// Saves a tiny model in a new folder.
fn saved() -> TempDir {
    let shape = GptShape { sequence_len: 16, vocab_size: 64, n_embd: 8, ..TINY_SHAPE };
    let gpt = Gpt::random(Era::E0.config(shape, None).unwrap(), 1, &device());
    let dir = TempDir::new().unwrap();
    save_model(dir.path(), &gpt, ModelKind::Nanochat(Era::E0)).unwrap();
    dir
}

/// Loads the model after `change` to its weights file.
fn with_weights(change: impl FnOnce(&Path)) -> Result<LoadedModel, CheckpointError> {
    let dir = saved();
    change(&dir.path().join(WEIGHTS));
    load_model(dir.path(), None)
}

/// A tensor's shape and values.
type Entry = (Vec<usize>, Vec<f32>);

/// Loads the model after `change` to its weights.
fn with_tensors(
    change: impl FnOnce(&mut Vec<(String, Entry)>),
) -> Result<LoadedModel, CheckpointError> {
    with_weights(|path| {
        let file = TensorFile::open(path).unwrap();
        let mut entries: Vec<(String, Entry)> = file
            .tensors()
            .map(|(name, info)| {
                let data = file.read(name, &info.shape, Order::AsStored).unwrap();
                (name.to_owned(), (info.shape.clone(), data.iter::<f32>().collect()))
            })
            .collect();
        drop(file);
        change(&mut entries);
        let bytes: Vec<_> =
            entries.iter().map(|(name, (shape, values))| (name, shape, floats(values))).collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap())
        });
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    })
}

/// Loads the model after `change` to its configuration.
fn with_config(change: impl FnOnce(&mut Json)) -> Result<LoadedModel, CheckpointError> {
    let dir = saved();
    let path = dir.path().join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
    load_model(dir.path(), None)
}

/// A safetensors file with this header and 16 bytes of data.
fn safetensors(header: &str) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend([0; 16]);
    bytes
}

#[test]
fn the_model_that_is_spoilt_here_is_good_before() {
    with_weights(|_| {}).unwrap();
    with_tensors(|_| {}).unwrap();
    with_config(|_| {}).unwrap();
}

#[test]
fn a_safetensors_file_with_a_broken_header_is_refused() {
    let tensor = |offsets: &str| {
        format!(r#"{{"a": {{"dtype": "F32", "shape": [2], "data_offsets": {offsets}}}}}"#)
    };
    let overlapping = r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        "c": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}}"#;
    let overflow = r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296],
        "data_offsets": [0, 16]}}"#;
    let mut long = safetensors(&tensor("[0, 8]"));
    long[..8].copy_from_slice(&(1_u64 << 31).to_le_bytes());
    let cases = [
        ("header that is not JSON", safetensors("{tensors}")),
        ("header that is not text", safetensors("{\u{0}")),
        ("header of 2 GiB", long),
        ("tensors that overlap", safetensors(overlapping)),
        ("shape beyond 2^64", safetensors(overflow)),
        ("tensor shorter than its shape", safetensors(&tensor("[0, 4]"))),
        ("tensor beyond the file", safetensors(&tensor("[16, 24]"))),
        ("tensor that ends before it starts", safetensors(&tensor("[8, 0]"))),
        ("numbers left over", safetensors(&tensor("[0, 8]"))),
        ("dtype that does not exist", safetensors(&tensor("[0, 8]").replace("F32", "F33"))),
    ];
    for (case, bytes) in cases {
        let (_dir, path) = file("weights.safetensors", &bytes);
        refused!(
            case,
            TensorFile::open(&path),
            CheckpointError::Safetensors { .. },
            ["weights.safetensors"]
        );
    }
}

#[test]
fn a_header_length_of_2_to_the_63_is_no_safetensors_file() {
    refused!(
        "header of 2^63 bytes",
        with_weights(|path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[..8].copy_from_slice(&(1_u64 << 63).to_le_bytes());
            fs::write(path, bytes).unwrap();
        }),
        CheckpointError::NotTorch { .. },
        [WEIGHTS, "not a safetensors, npz, npy, GGUF or torch.save file", "of an unknown format"]
    );
}

#[test]
fn a_model_that_is_cut_anywhere_is_refused_by_name() {
    let whole = fs::read(saved().path().join(WEIGHTS)).unwrap();
    for tenth in 1..10 {
        let length = whole.len() * tenth / 10;
        refused!(
            format!("{WEIGHTS} cut to {length} of {} bytes", whole.len()),
            with_weights(|path| fs::write(path, &whole[..length]).unwrap()),
            CheckpointError::Safetensors { .. },
            [WEIGHTS]
        );
    }
    refused!(
        "empty model.safetensors",
        with_weights(|path| fs::write(path, b"").unwrap()),
        CheckpointError::NotTorch { .. },
        [WEIGHTS, "it is an empty file"]
    );
}

#[test]
fn weights_that_are_not_the_models_are_refused_by_name() {
    refused!(
        "missing weight",
        with_tensors(|tensors| tensors.retain(|(name, _)| name != WTE)),
        CheckpointError::MissingTensor { .. },
        [WEIGHTS, WTE]
    );
    refused!(
        "weight too many",
        with_tensors(|tensors| tensors.push(("lora".to_owned(), (vec![1], vec![0.0])))),
        CheckpointError::UnexpectedTensor { .. },
        [WEIGHTS, "lora", "E0"]
    );
    refused!(
        "weight of another shape",
        with_tensors(|tensors| {
            let wte = tensors.iter_mut().find(|(name, _)| name == WTE).unwrap();
            wte.1.0 = vec![8, 64];
        }),
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, WTE, "[8, 64]", "[64, 8]"]
    );
}

#[test]
fn numbers_of_a_type_that_is_not_read_are_refused_by_tensor_and_type() {
    let header = r#"{"a": {"dtype": "U64", "shape": [2], "data_offsets": [0, 16]}}"#;
    let (_dir, path) = file("weights.safetensors", &safetensors(header));
    refused!(
        "tensor of 64-bit unsigned numbers",
        TensorFile::open(&path).unwrap().read("a", &[2], Order::AsStored),
        CheckpointError::UnreadDtype { .. },
        ["weights.safetensors", "tensor `a` is U64, which is not read"]
    );
}

#[test]
fn a_description_that_is_not_ours_is_refused() {
    refused!(
        "no config.json",
        {
            let dir = saved();
            fs::remove_file(dir.path().join("config.json")).unwrap();
            load_model(dir.path(), None)
        },
        CheckpointError::NoConfig { .. },
        [WEIGHTS, "no configuration"]
    );
    let hugging_face = json!({"architectures": ["LlamaForCausalLM"], "hidden_size": 8});
    refused!(
        "config.json of another program",
        with_config(|config| *config = hugging_face),
        CheckpointError::Json { .. },
        ["config.json", "missing field `model_type`"]
    );
    refused!(
        "another format",
        with_config(|config| config["format"] = json!("nanoscope-sae")),
        CheckpointError::ForeignConfig { .. },
        ["config.json", "format `nanoscope-sae` version 3"]
    );
    refused!(
        "newer version",
        with_config(|config| config["version"] = json!(4)),
        CheckpointError::ForeignConfig { .. },
        ["config.json", "format `nanoscope-model` version 4"]
    );
    refused!(
        "unknown key",
        with_config(|config| config["softcap"] = json!(15)),
        CheckpointError::Json { .. },
        ["config.json", "unknown field `softcap`"]
    );
    refused!(
        "text for a size",
        with_config(|config| config["model_config"]["n_head"] = json!("two")),
        CheckpointError::Json { .. },
        ["config.json", "model_config.n_head: invalid type: string \"two\""]
    );
    refused!(
        "unknown era",
        with_config(|config| config["era"] = json!("E7")),
        CheckpointError::Config { source: ConfigError::UnknownEra { .. }, .. },
        ["config.json", "unknown era `E7`", "E0p"]
    );
    refused!(
        "era of other weights",
        with_config(|config| config["era"] = json!("E1")),
        CheckpointError::MissingTensor { .. },
        [WEIGHTS, "resid_lambdas"]
    );
    refused!(
        "wider than the weights",
        with_config(|config| config["model_config"]["n_embd"] = json!(16)),
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, "lm_head.weight", "[64, 8]", "[64, 16]"]
    );
    refused!(
        "size of 1e18",
        with_config(
            |config| config["model_config"]["n_layer"] = json!(1_000_000_000_000_000_000_u64)
        ),
        CheckpointError::Config { source: ConfigError::Size { .. }, .. },
        ["config.json", "n_layer is 1000000000000000000"]
    );
}

#[test]
fn another_era_than_the_descriptions_is_refused() {
    refused!(
        "E6 asked of E0",
        load_model(saved().path(), Some(Era::E6)),
        CheckpointError::EraMismatch { .. },
        ["config.json", "does not fit era E6", "E0"]
    );
}

#[test]
fn inspecting_checks_as_much_as_loading_does() {
    let dir = saved();
    let path = dir.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replace(r#""n_embd": 8"#, r#""n_embd": 4"#)).unwrap();
    refused!(
        "inspection of a model that is not what its description says",
        inspect(dir.path(), None),
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, "lm_head.weight", "[64, 8]", "[64, 4]"]
    );
}

#[test]
fn constants_that_are_not_all_there_or_make_no_model_are_refused() {
    let good = json!({
        "d_mlp": 32, "norm_epsilon": 1e-6, "softcap": null, "rope_base": 1e4, "rope_tables": "f32",
    });
    let with = |key: &str, value: Json| {
        let mut constants = good.clone();
        constants[key] = value;
        with_config(|config| config["constants"] = constants)
    };
    with("softcap", json!(20.0)).unwrap();
    for (key, value, says) in [
        ("rope_tables", json!("f16"), "constants.rope_tables: unknown variant `f16`"),
        ("d_mlp", json!(-1), "constants.d_mlp: invalid value"),
        ("qk_scale", json!(1.2), "unknown field `qk_scale`"),
    ] {
        let case = format!("{key} {value}");
        refused!(case, with(key, value), CheckpointError::Json { .. }, ["config.json", says]);
    }
    for (key, value, says) in [
        ("d_mlp", json!(0), "d_mlp is 0"),
        ("norm_epsilon", json!(-1), "norm_epsilon is -1, it must be a positive number"),
        ("softcap", json!(0), "softcap is 0, it must be a positive number"),
        ("rope_base", json!(0.5), "rope_base is 0.5, it must be a finite number from 1 on"),
    ] {
        let case = format!("{key} {value}");
        refused!(case, with(key, value), CheckpointError::Config { .. }, ["config.json", says]);
    }
    refused!(
        "another width than the weights'",
        with("d_mlp", json!(48)),
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, "mlp.c_fc", "[32, 8]", "[48, 8]"]
    );
}
