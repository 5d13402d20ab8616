//! Memory use of a model and an SAE.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use nanoscope_checkpoint::TensorFile;
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::{golden, nanoscope};

/// Writes the golden model `times` as wide and with `10 · times` as many tokens, in nanochat's types: the
/// embeddings in bfloat16, all else in float32. Returns the size of its file in bytes.
fn write_of_mixed_types(dir: &Path, times: usize) -> u64 {
    let source = golden("head/base_checkpoints/d4");
    let meta = fs::read_to_string(format!("{source}/meta_000100.json")).unwrap();
    let mut meta: Value = serde_json::from_str(&meta).unwrap();
    meta["model_config"]["vocab_size"] = (320 * times * 10).into();
    meta["model_config"]["n_embd"] = (64 * times).into();
    fs::write(dir.join("meta_000100.json"), meta.to_string()).unwrap();

    let golden = TensorFile::open(Path::new(&format!("{source}/model_000100.pt"))).unwrap();
    let (mut tensors, mut storages) = (Vec::new(), Vec::new());
    for (name, info) in golden.tensors() {
        let len = |&len: &usize| match len {
            320 => len * times * 10,
            32 | 64 | 256 => len * times,
            // Of gates, which read a few channels.
            _ => len,
        };
        let shape: Vec<usize> = info.shape.iter().map(len).collect();
        let mut tensor = PyTensor::whole(name, &shape);
        let mut bytes = 4 * shape.iter().product::<usize>();
        if name.contains("wte") || name.contains("value_embeds") {
            (tensor.storage_type, bytes) = ("BFloat16Storage", bytes / 2);
        }
        tensors.push((name.to_owned(), Py::Tensor(tensor)));
        // Small numbers in both types.
        storages.push((name.to_owned(), [0x00, 0x3c].repeat(bytes / 2)));
    }
    let storages: Vec<_> = storages.iter().map(|(key, bytes)| (&**key, &**bytes)).collect();
    let path = dir.join("model_000100.pt");
    fs::write(&path, torch_zip(&pickle(&Py::Dict(tensors)), &storages)).unwrap();
    fs::metadata(path).unwrap().len()
}

/// The bytes of a file and of the memory that `measured` finds for it, of a large one more than of a small one.
fn growth(measured: impl Fn(usize) -> (u64, u64), [small, large]: [usize; 2]) -> (u64, u64) {
    let ((small, of_small), (large, of_large)) = (measured(small), measured(large));
    let (bytes, memory) = (large - small, of_large - of_small);
    println!("{} MB of weights, {} MB of memory", bytes >> 20, memory >> 20);
    (bytes, memory)
}

#[test]
fn a_checkpoint_of_mixed_types_takes_little_more_memory_than_its_size() {
    let measured = |times: usize| {
        let dir = tempfile::tempdir().unwrap();
        let size = write_of_mixed_types(dir.path(), times);
        let args = ["run", "--model", dir.path().to_str().unwrap(), "--tokens", "5,7"];
        (size, nanoscope(&args).peak_memory())
    };

    let (bytes, memory) = growth(measured, [1, 10]);

    assert!(bytes > 200_000_000 && (memory as f64) < 1.15 * bytes as f64, "{bytes}: {memory}");
}

/// Writes an SAE of a model 64 wide, with `d_sae` features. Returns the size of its file in bytes.
fn write_sae(dir: &Path, d_sae: usize) -> u64 {
    let config = json!({
        "architecture": "standard", "d_in": 64, "d_sae": d_sae, "dtype": "float32",
        "hook_name": "blocks.1.hook_resid_post", "apply_b_dec_to_input": false,
    });
    fs::write(dir.join("cfg.json"), config.to_string()).unwrap();
    let small = 0.001_f32.to_le_bytes();
    let matrix = small.repeat(64 * d_sae);
    let view = |shape: &[usize]| {
        let bytes = &matrix[..4 * shape.iter().product::<usize>()];
        TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()
    };
    let tensors = [
        ("W_enc", view(&[64, d_sae])),
        ("W_dec", view(&[d_sae, 64])),
        ("b_enc", view(&[d_sae])),
        ("b_dec", view(&[64])),
    ];
    let path = dir.join("sae_weights.safetensors");
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    fs::metadata(path).unwrap().len()
}

/// A file of float32 is mapped, and the decoder's half of it is read for active features only.
#[test]
fn an_sae_takes_the_memory_of_what_is_read_of_it() {
    let measured = |d_sae: usize| {
        let dir = tempfile::tempdir().unwrap();
        let size = write_sae(dir.path(), d_sae);
        let model = golden("head/base_checkpoints/d4");
        let sae = dir.path().to_str().unwrap();
        let args = ["run", "--model", &*model, "--sae", sae, "--tokens", "5", "--top", "1"];
        (size, nanoscope(&args).peak_memory())
    };

    let (bytes, memory) = growth(measured, [1_000, 400_000]);

    assert!(bytes > 200_000_000 && (memory as f64) < 0.75 * bytes as f64, "{bytes}: {memory}");
}
