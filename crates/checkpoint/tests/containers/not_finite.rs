//! Numbers that are not finite.

use std::fs;
use std::path::Path;

use nanoscope_checkpoint::{
    ActivationFile, CheckpointError, LoadOptions, ModelFiles, Order, TensorFile, WeightDtype,
    load_sae, load_sae_as, load_vector, save_model, save_sae,
};
use nanoscope_hooks::HookPoint;
use tempfile::TempDir;

use crate::writers::{ALL, Container, Number, Tensor, fixture, npz, safetensors_file};

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// Asserts that `found` is the error about number `at` of `tensor` in the file `name`.
#[track_caller]
fn refused<T>(case: &str, found: Result<T, CheckpointError>, name: &str, tensor: &str, at: usize) {
    match found {
        Err(CheckpointError::NotFinite { path, tensor: found, at: place }) => {
            assert!(path.ends_with(name), "{case}: {}", path.display());
            assert_eq!((found.as_str(), place), (tensor, at), "{case}");
        }
        Err(other) => panic!("{case}: {other:?}"),
        Ok(_) => panic!("{case}: taken"),
    }
}

/// Asserts that `found` is the error about number `at` of `tensor` in the file `name`, which is finite, but not in
/// 16 bits.
#[track_caller]
fn too_large<T>(
    case: &str,
    found: Result<T, CheckpointError>,
    name: &str,
    tensor: &str,
    at: usize,
) {
    match found {
        Err(error @ CheckpointError::TooLarge { .. }) => {
            let text = error.to_string();
            let CheckpointError::TooLarge { path, tensor: found, at: place, value, .. } = error
            else {
                unreachable!("the variant was matched")
            };
            assert!(path.ends_with(name), "{case}: {}", path.display());
            assert_eq!((found.as_str(), place), (tensor, at), "{case}");
            assert!(value > 65_504.0 && text.contains("f16 ends at 65504"), "{case}: {text}");
        }
        Err(other) => panic!("{case}: {other:?}"),
        Ok(_) => panic!("{case}: taken"),
    }
}

fn device() -> burn::tensor::Device {
    nanoscope_testing::test_device()
}

/// The tensors of the file at `path`.
fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let file = TensorFile::open(path).unwrap();
    let tensor = |(name, info): (&str, &nanoscope_checkpoint::TensorInfo)| {
        let data = file.read(name, &info.shape, Order::AsStored).unwrap();
        (name.to_owned(), info.shape.clone(), data.iter::<f32>().collect())
    };
    file.tensors().map(tensor).collect()
}

/// `tensors` with `bad` at the place `at` of the tensor `name`.
fn spoilt<'a>(
    tensors: &'a [(String, Vec<usize>, Vec<f32>)],
    name: &str,
    at: usize,
    bad: f32,
) -> Vec<Tensor<'a>> {
    let mut tensors: Vec<Tensor<'a>> = tensors
        .iter()
        .map(|(name, shape, values)| (name.as_str(), shape.clone(), values.clone()))
        .collect();
    let tensor = tensors.iter_mut().find(|(found, ..)| *found == name).unwrap();
    tensor.2[at] = bad;
    tensors
}

#[test]
fn a_vector_is_refused_in_every_container() {
    for container in ALL {
        let dir = TempDir::new().unwrap();
        let name = if matches!(container, Container::Npy(_)) { "tensor" } else { "v" };
        let good = container.write(dir.path(), &[("v", vec![3], vec![1.0, -2.0, 0.5])]);
        assert_eq!(load_vector(&good, None, None).unwrap(), [1.0, -2.0, 0.5], "{container:?}");
        for bad in BAD {
            let path = container.write(dir.path(), &[("v", vec![3], vec![1.0, bad, bad])]);
            let case = format!("{container:?}, {bad}");
            let file = path.file_name().unwrap().to_str().unwrap();
            refused(&case, load_vector(&path, None, None), file, name, 1);
        }
    }
}

#[test]
fn activations_are_refused_in_every_container() {
    for container in ALL {
        let dir = TempDir::new().unwrap();
        let name = if matches!(container, Container::Npy(_)) { "tensor" } else { "x" };
        for bad in BAD {
            let values = vec![0.5, 1.0, 2.0, 3.0, 4.0, bad];
            let path = container.write(dir.path(), &[("x", vec![3, 2], values)]);
            let mut file = ActivationFile::open(&path, None, 2).unwrap();
            let case = format!("{container:?}, {bad}");

            assert_eq!(file.read(1, 2).unwrap(), [2.0, 3.0], "{case}");
            let found = file.read(1, 3);

            refused(&case, found, path.file_name().unwrap().to_str().unwrap(), name, 5);
        }
    }
}

#[test]
fn every_read_of_a_tensor_is_refused_in_every_container() {
    for container in ALL {
        let dir = TempDir::new().unwrap();
        let name = if matches!(container, Container::Npy(_)) { "tensor" } else { "w" };
        for bad in BAD {
            let values = vec![0.5, 1.0, 2.0, 3.0, bad, 5.0];
            let path = container.write(dir.path(), &[("w", vec![2, 3], values)]);
            let file_name = path.file_name().unwrap().to_str().unwrap();
            let file = TensorFile::open(&path).unwrap();
            let case = format!("{container:?}, {bad}");

            refused(&case, file.read(name, &[2, 3], Order::AsStored), file_name, name, 4);
            refused(&case, file.read(name, &[3, 2], Order::Transposed), file_name, name, 4);
        }
    }
}

#[test]
fn a_models_weight_is_refused_in_every_layout() {
    let golden = ModelFiles::find(&fixture("golden/old")).unwrap();
    let loaded = golden.load(&device()).unwrap();
    let own = TempDir::new().unwrap();
    save_model(own.path(), &loaded.gpt, loaded.kind).unwrap();
    let nanochat = tensors(&golden.weights);
    let native = tensors(&own.path().join("model.safetensors"));
    let transformers = tensors(&fixture("hf/single/model.safetensors"));
    let shard = "model-00002-of-00004.safetensors";
    let sharded = tensors(&fixture("hf/sharded").join(shard));
    let copy = |from: &Path, to: &Path| {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    };
    let weight = |name: &str| name.contains("c_fc") || name.contains("fc1");
    for bad in BAD {
        for (layout, all, name) in [
            ("nanochat", &nanochat, "model_000100.pt"),
            ("native", &native, "model.safetensors"),
            ("transformers", &transformers, "model.safetensors"),
            ("shards", &sharded, shard),
        ] {
            let (tensor, ..) = all.iter().find(|(name, ..)| weight(name)).unwrap_or(&all[0]);
            let spoilt = spoilt(all, tensor, 7, bad);
            let dir = TempDir::new().unwrap();
            match layout {
                "nanochat" => copy(golden.weights.parent().unwrap(), dir.path()),
                "native" => copy(own.path(), dir.path()),
                "transformers" => copy(&fixture("hf/single"), dir.path()),
                _ => copy(&fixture("hf/sharded"), dir.path()),
            }
            for number in [Number::F32, Number::BF16] {
                let bytes = match layout {
                    "nanochat" => crate::writers::pt(number, &spoilt),
                    _ => safetensors_file(number, &spoilt),
                };
                fs::write(dir.path().join(name), bytes).unwrap();

                let found = ModelFiles::find(dir.path()).unwrap().load(&device());

                refused(&format!("{layout}, {number:?}, {bad}"), found, name, tensor, 7);
            }
        }
    }
}

#[test]
fn an_saes_weight_is_refused_in_every_container() {
    let gemma = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz";
    let saelens = "sae_weights.safetensors";
    let topk = "blocks_1_hook_resid_post/best_model.pt";
    let dtypes = [WeightDtype::F32, WeightDtype::F16, WeightDtype::BF16];
    for bad in BAD {
        for (from, name) in [
            ("saes/saelens/standard", saelens),
            ("saes/gemma-scope/res", gemma),
            ("saes/sparsify/topk", "layers.2/sae.safetensors"),
        ] {
            let all = tensors(&fixture(from).join(name));
            for (tensor, shape, _) in &all {
                let spoilt = spoilt(&all, tensor, 0, bad);
                let dir = TempDir::new().unwrap();
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let config = fixture(from).join(name).with_file_name("cfg.json");
                if config.is_file() {
                    fs::copy(&config, path.with_file_name("cfg.json")).unwrap();
                }
                let bytes = if name.ends_with("npz") {
                    npz(Number::F32, zip::CompressionMethod::Deflated, &spoilt)
                } else {
                    safetensors_file(Number::F32, &spoilt)
                };
                fs::write(&path, bytes).unwrap();
                for dtype in dtypes {
                    let case = format!("{from}, {tensor} {shape:?}, {bad} as {dtype}");
                    refused(&case, load_sae_as(&path, &device(), dtype), name, tensor, 0);
                }
            }
        }
    }
    load_sae(&fixture("golden/old/saes/topk").join(topk), &device()).unwrap();
}

/// The folder of an SAE's files, its weights and its configuration.
type Files = (&'static str, &'static str, &'static str);

/// An SAE whose encoder is multiplied by the decoder's norms when it is loaded.
const RESCALED: Files =
    ("saes/saelens/checkpoint_batchtopk_rescaled", "sae_weights.safetensors", "cfg.json");

/// An SAE whose encoder is multiplied by 4 / 5.5, from its configuration.
const SCALED: Files = (
    "saes/llama-scope/Llama3_1-8B-Base-L15R-8x/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x",
    "checkpoints/final.safetensors",
    "hyperparams.json",
);

#[test]
fn a_product_is_refused_if_it_does_not_fit_the_number_type() {
    for ((from, weights, config), encoder, decoder) in
        [(RESCALED, "W_enc", "W_dec"), (SCALED, "encoder.weight", "decoder.weight")]
    {
        let mut all = tensors(&fixture(from).join(weights));
        let text = fs::read_to_string(fixture(from).join(config)).unwrap();
        let text = text.replace("\"in\": 5.5", "\"in\": 0.04");
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(weights);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(dir.path().join(config), text).unwrap();
        let mut load = |largest: f32, dtype| {
            for (tensor, _, values) in &mut all {
                if tensor == encoder {
                    values[0] = largest;
                } else if tensor == decoder {
                    // The norm of each row is 100.
                    values.fill(25.0);
                }
            }
            let views: Vec<Tensor<'_>> = all
                .iter()
                .map(|(name, shape, values)| (name.as_str(), shape.clone(), values.clone()))
                .collect();
            fs::write(&path, safetensors_file(Number::F32, &views)).unwrap();
            load_sae_as(dir.path(), &device(), dtype)
        };

        for dtype in [WeightDtype::F32, WeightDtype::BF16, WeightDtype::F16] {
            load(600.0, dtype).unwrap_or_else(|error| panic!("{from}, {dtype}: {error:?}"));
        }
        for dtype in [WeightDtype::F32, WeightDtype::BF16] {
            load(700.0, dtype).unwrap_or_else(|error| panic!("{from}, {dtype}: {error:?}"));
        }
        // 700 fits 16 bits, 70,000 does not.
        too_large(from, load(700.0, WeightDtype::F16), weights, encoder, 0);
        refused(from, load(1e37, WeightDtype::F32), weights, encoder, 0);
    }
}

#[test]
fn a_number_beyond_float16_is_named_wherever_float16_is_asked_for() {
    let of = |all: &[(String, Vec<usize>, Vec<f32>)], name: &str, at| {
        safetensors_file(Number::F32, &spoilt(all, name, at, 70_000.0))
    };
    // The tensor is read in the file's order, and transposed.
    for (from, name, tensor) in [
        ("saes/saelens/standard", "sae_weights.safetensors", "W_enc"),
        ("saes/sparsify/topk", "layers.2/sae.safetensors", "encoder.weight"),
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let config = fixture(from).join(name).with_file_name("cfg.json");
        fs::copy(&config, path.with_file_name("cfg.json")).unwrap();
        fs::write(&path, of(&tensors(&fixture(from).join(name)), tensor, 5)).unwrap();

        too_large(from, load_sae_as(&path, &device(), WeightDtype::F16), name, tensor, 5);

        // It fits the file's own type, in which the SAE cannot be saved as float16 either.
        let own = load_sae(&path, &device()).unwrap();
        let out = TempDir::new().unwrap();
        let (hook, to) = (HookPoint::ResidPost(1), out.path().join("sae"));
        let saved = save_sae(&to, &own.sae, hook, None, WeightDtype::F16, &own.metadata);
        assert!(matches!(saved, Err(CheckpointError::TooLarge { value: 70_000.0, .. })), "{from}");
        assert!(!to.exists(), "{from}");
    }

    let (name, tensor) = ("model.safetensors", "model.layers.0.mlp.fc1.weight");
    let dir = TempDir::new().unwrap();
    for file in fs::read_dir(fixture("hf/single")).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let all = tensors(&dir.path().join(name));
    fs::write(dir.path().join(name), of(&all, tensor, 9)).unwrap();
    let files = ModelFiles::find(dir.path()).unwrap();
    let load = |dtype: WeightDtype| {
        let dtype = Some(dtype.into());
        files.load_with(&device(), LoadOptions { dtype, ..LoadOptions::default() })
    };
    for dtype in [WeightDtype::F32, WeightDtype::BF16] {
        load(dtype).unwrap();
    }
    too_large("a model", load(WeightDtype::F16), name, tensor, 9);
}
