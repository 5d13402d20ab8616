//! Small valid files, and ways to break them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use nanoscope_checkpoint::{
    CheckpointError, LoadOptions, LoadedModel, LoadedSae, ModelFiles, Order, TensorFile,
    WeightDtype, load_sae, save_nanochat_sae,
};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use nanoscope_transformer::Era;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub(crate) const D_IN: usize = 4;
pub(crate) const D_SAE: usize = 8;

pub(crate) fn device() -> Device {
    nanoscope_testing::test_device()
}

pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// Writes a file with this name and content in a new folder.
pub(crate) fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The contents of an SAE file in nanochat-SAE's layout.
#[derive(Debug, Clone)]
pub(crate) struct SaeFile {
    pub(crate) config: Option<Json>,
    /// The key of the weights in the pickle.
    pub(crate) state_dict: &'static str,
    pub(crate) weights: Vec<(String, Py)>,
    /// The storages by key.
    pub(crate) storages: BTreeMap<String, Vec<u8>>,
    /// Other entries of the pickle.
    pub(crate) others: Vec<(String, Py)>,
}

impl SaeFile {
    pub(crate) fn valid() -> Self {
        let mut this = Self {
            config: Some(json!({
                "d_in": D_IN, "d_sae": D_SAE, "activation": "topk", "k": 2,
                "l1_coefficient": 0.001, "normalize_decoder": true, "dtype": "bfloat16",
                "hook_point": "blocks.1.hook_resid_post", "expansion_factor": 2,
            })),
            state_dict: "sae_state_dict",
            weights: Vec::new(),
            storages: BTreeMap::new(),
            others: Vec::new(),
        };
        this.put("W_enc", &[D_IN, D_SAE]);
        this.put("W_dec", &[D_SAE, D_IN]);
        this.put("b_enc", &[D_SAE]);
        this.put("b_dec", &[D_IN]);
        this
    }

    /// A valid file with `key` of the configuration set to `value`.
    pub(crate) fn with_config(key: &str, value: Json) -> Self {
        let mut this = Self::valid();
        this.config.as_mut().unwrap()[key] = value;
        this
    }

    /// Adds a weight, or replaces the one of that name.
    pub(crate) fn put(&mut self, name: &str, shape: &[usize]) {
        let values: Vec<f32> = (0..shape.iter().product()).map(|at| at as f32 / 8.0).collect();
        self.storages.insert(name.to_owned(), floats(&values));
        self.put_value(name, Py::Tensor(PyTensor::whole(name, shape)));
    }

    /// Replaces the weight `name` by `value`.
    pub(crate) fn put_value(&mut self, name: &str, value: Py) {
        self.weights.retain(|(known, _)| known != name);
        self.weights.push((name.to_owned(), value));
    }

    pub(crate) fn pickle(&self) -> Vec<u8> {
        let mut root = vec![(self.state_dict.to_owned(), Py::Dict(self.weights.clone()))];
        root.extend(self.config.as_ref().map(|config| ("config".to_owned(), config.into())));
        root.extend(self.others.clone());
        pickle(&Py::Dict(root))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_with(&self.pickle())
    }

    /// The bytes of the file with another pickle.
    pub(crate) fn bytes_with(&self, pickle: &[u8]) -> Vec<u8> {
        let storages: Vec<_> =
            self.storages.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
        torch_zip(pickle, &storages)
    }

    /// Writes the file and loads it.
    pub(crate) fn load(&self) -> Result<LoadedSae, CheckpointError> {
        load_bytes(&self.bytes())
    }
}

/// Loads the SAE in a file of these bytes.
pub(crate) fn load_bytes(bytes: &[u8]) -> Result<LoadedSae, CheckpointError> {
    let (_dir, path) = file("sae.pt", bytes);
    load_sae(&path, &device())
}

pub(crate) fn small_sae(d_in: usize) -> Sae {
    let (device, d_sae) = (device(), D_SAE);
    let weights = SaeWeights::new(
        Tensor::ones([d_in, d_sae], &device),
        Tensor::zeros([d_sae], &device),
        Tensor::ones([d_sae, d_in], &device),
        Tensor::zeros([d_in], &device),
    );
    Sae::new(SaeConfig::new(d_in, d_sae, Architecture::Relu).unwrap(), weights).unwrap()
}

/// An SAE file made by our own writer.
pub(crate) fn written_sae() -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sae.pt");
    save_nanochat_sae(&path, &small_sae(D_IN), HookPoint::ResidPost(1), None, WeightDtype::F32)
        .unwrap();
    fs::read(path).unwrap()
}

/// The contents of a nanochat checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    /// `None` to write no such file.
    pub(crate) meta: Option<Json>,
    pub(crate) weights: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub(crate) half: bool,
}

impl Checkpoint {
    /// The golden model `name`, unchanged.
    pub(crate) fn golden(name: &str) -> Self {
        let dir = fixture(&format!("golden/{name}"));
        let files = ModelFiles::find(&dir).unwrap();
        let file = TensorFile::open(&files.weights).unwrap();
        let weights = file.tensors().map(|(name, info)| {
            let data = file.read(name, &info.shape, Order::AsStored).unwrap();
            (name.to_owned(), (info.shape.clone(), data.iter::<f32>().collect()))
        });
        let meta = fs::read(files.config.unwrap()).unwrap();
        Self {
            meta: Some(serde_json::from_slice(&meta).unwrap()),
            weights: weights.collect(),
            half: false,
        }
    }

    /// The golden model of era E0.
    pub(crate) fn valid() -> Self {
        Self::golden("old")
    }

    /// A valid checkpoint with `key` of the model's configuration set to `value`.
    pub(crate) fn with_config(key: &str, value: Json) -> Self {
        let mut this = Self::valid();
        this.meta.as_mut().unwrap()["model_config"][key] = value;
        this
    }

    pub(crate) fn put(&mut self, name: &str, shape: &[usize]) {
        let values = vec![0.5; shape.iter().product()];
        self.weights.insert(name.to_owned(), (shape.to_vec(), values));
    }

    fn model_bytes(&self) -> Vec<u8> {
        let (mut dict, mut storages) = (Vec::new(), Vec::new());
        for (name, (shape, values)) in &self.weights {
            let mut tensor = PyTensor::whole(name, shape);
            let bytes: Vec<u8> = if self.half {
                tensor.storage_type = "BFloat16Storage";
                values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect()
            } else {
                floats(values)
            };
            dict.push((name.clone(), Py::Tensor(tensor)));
            storages.push((name.as_str(), bytes));
        }
        let storages: Vec<_> =
            storages.iter().map(|(key, bytes)| (*key, bytes.as_slice())).collect();
        torch_zip(&pickle(&Py::Dict(dict)), &storages)
    }

    pub(crate) fn write(&self, dir: &Path) {
        write(&dir.join("model_000001.pt"), &self.model_bytes());
        if let Some(meta) = &self.meta {
            write(&dir.join("meta_000001.json"), meta.to_string().as_bytes());
        }
    }

    /// Writes the checkpoint and loads it.
    pub(crate) fn load(&self, era: Option<Era>) -> Result<LoadedModel, CheckpointError> {
        let dir = TempDir::new().unwrap();
        self.write(dir.path());
        load_model(dir.path(), era)
    }
}

pub(crate) fn load_model(path: &Path, era: Option<Era>) -> Result<LoadedModel, CheckpointError> {
    ModelFiles::find(path)?.load_with(&device(), LoadOptions { era, ..Default::default() })
}

fn write(path: &Path, bytes: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(bytes)).unwrap();
}
