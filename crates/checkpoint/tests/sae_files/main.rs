//! SAE files: recognition by evidence, statements about files without it, and hook points.

mod midrun;
mod names;
mod places;
mod recognition;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nanoscope_checkpoint::SaeOptions;
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use tempfile::TempDir;

pub(crate) fn device() -> Device {
    nanoscope_testing::test_device()
}

pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn fixture(path: &str) -> PathBuf {
    root("tests/fixtures/saes").join(path)
}

pub(crate) fn stated(format: &str) -> SaeOptions {
    SaeOptions { format: Some(format.parse().unwrap()), ..SaeOptions::default() }
}

/// A file as `torch.save` writes it, with tensors of these names and shapes under `root`, if there is one.
pub(crate) fn pt(root: Option<&str>, tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let bytes: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, shape)| {
            let value = |at: usize| ((at as f32 + name.len() as f32) * 0.7).sin();
            let values = (0..shape.iter().product()).flat_map(|at| value(at).to_le_bytes());
            (*name, values.collect())
        })
        .collect();
    let entries = tensors
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), Py::Tensor(PyTensor::whole(name, shape))));
    let mut tree = Py::Dict(entries.collect());
    if let Some(root) = root {
        tree = Py::Dict(vec![(root.to_owned(), tree)]);
    }
    let storages: Vec<_> = bytes.iter().map(|(key, bytes)| (*key, bytes.as_slice())).collect();
    torch_zip(&pickle(&tree), &storages)
}

/// Writes a file with this path in a new folder.
pub(crate) fn file(path: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

pub(crate) const LINEARS: [(&str, &[usize]); 4] = [
    ("encoder.weight", &[8, 4]),
    ("encoder.bias", &[8]),
    ("decoder.weight", &[4, 8]),
    ("decoder.bias", &[4]),
];

pub(crate) const BARE: [(&str, &[usize]); 4] =
    [("W_enc", &[4, 8]), ("b_enc", &[8]), ("W_dec", &[8, 4]), ("b_dec", &[4])];
