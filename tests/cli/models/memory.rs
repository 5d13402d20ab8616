//! Memory use of a model.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use nanoscope_checkpoint::TensorFile;
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use serde_json::Value;

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

#[test]
fn a_checkpoint_of_mixed_types_takes_little_more_memory_than_its_size() {
    let measured = |times: usize| {
        let dir = tempfile::tempdir().unwrap();
        let size = write_of_mixed_types(dir.path(), times);
        let args = ["run", "--model", dir.path().to_str().unwrap(), "--tokens", "5,7"];
        (size, nanoscope(&args).peak_memory())
    };
    let ((small, of_small), (large, of_large)) = (measured(1), measured(10));

    let (bytes, memory) = (large - small, of_large - of_small);
    println!("{} MB of weights, {} MB of memory", bytes >> 20, memory >> 20);
    assert!(bytes > 200_000_000 && (memory as f64) < 1.15 * bytes as f64, "{bytes}: {memory}");
}
