//! Copies of the fixtures of other tools, which a test changes and saves again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{CheckpointError, LoadedSae, Order, TensorFile, load_sae};
use nanoscope_testing::npy;
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip, zip_archive};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value as Json;
use tempfile::TempDir;
use zip::CompressionMethod;

use crate::files::{device, fixture, floats};

pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A copy of a fixture in a temporary folder.
pub(crate) struct Saved {
    pub(crate) dir: TempDir,
    pub(crate) weights: PathBuf,
    pub(crate) config: PathBuf,
    /// The values of a `.pt` file that are not tensors.
    pub(crate) others: Vec<(String, Py)>,
}

impl Saved {
    /// Copies the case `case`, whose weights and configuration have these paths in it.
    pub(crate) fn case(case: &str, weights: &str, config: &str) -> Self {
        let dir = TempDir::new().unwrap();
        copy(&fixture("saes").join(case), dir.path());
        let (weights, config) = (dir.path().join(weights), dir.path().join(config));
        Self { dir, weights, config, others: Vec::new() }
    }

    pub(crate) fn saelens() -> Self {
        Self::case("saelens/topk", "sae_weights.safetensors", "cfg.json")
    }

    pub(crate) fn gemma_scope() -> Self {
        let dir = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71";
        Self::case("gemma-scope/res", &format!("{dir}/params.npz"), "")
    }

    pub(crate) fn gemma_scope_2(site: &str, name: &str) -> Self {
        let dir = format!("gemma-scope-2-270m-pt/{site}/{name}");
        let (weights, config) = (format!("{dir}/params.safetensors"), format!("{dir}/config.json"));
        let affine = if name.ends_with("_affine") { "_affine" } else { "" };
        Self::case(&format!("gemma-scope-2/{site}{affine}"), &weights, &config)
    }

    pub(crate) fn dictionary(case: &str) -> Self {
        let case = format!("dictionary-learning/{case}");
        Self::case(&case, "trainer_0/ae.pt", "trainer_0/config.json")
    }

    pub(crate) fn sparsify() -> Self {
        Self::case("sparsify/topk", "layers.2/sae.safetensors", "layers.2/cfg.json")
    }

    pub(crate) fn openai(activation: Py, state: Py) -> Self {
        let path = "resid_post_mlp_v5_32k/autoencoders/8.pt";
        let mut this = Self::case("openai/topk", path, "");
        this.others = vec![
            ("activation".to_owned(), activation),
            ("activation_state_dict".to_owned(), state),
        ];
        this.with(|_| {})
    }

    pub(crate) fn llama_scope() -> Self {
        let dir = "Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x";
        let weights = format!("{dir}/checkpoints/final.safetensors");
        let config = format!("{dir}/hyperparams.json");
        Self::case("llama-scope/Llama3_1-8B-Base-L15R-8x", &weights, &config)
    }

    pub(crate) fn r1_distill() -> Self {
        let dir = "Llama-Scope-R1-Distill/800M-Slimpajama-0-OpenR1-Math-220k/L15R";
        let (weights, config) =
            (format!("{dir}/sae_weights.safetensors"), format!("{dir}/config.json"));
        Self::case("llama-scope/r1_distill", &weights, &config)
    }

    pub(crate) fn qwen_scope() -> Self {
        Self::case("qwen-scope/Qwen3-8B-Base", "SAE-Res-Qwen3-8B-Base-W64K-L0_6/layer3.sae.pt", "")
    }

    pub(crate) fn goodfire() -> Self {
        let name = "Llama-3.1-8B-Instruct-SAE-l19";
        Self::case("goodfire/Llama-3.1-8B-Instruct", &format!("{name}/{name}.pth"), "")
    }

    pub(crate) fn circuit_tracer(yaml: &str) -> Self {
        let (weights, config) = ("transcoders/layer_0.safetensors", "transcoders/config.yaml");
        let this = Self::case("circuit-tracer/relu", weights, config);
        if !yaml.is_empty() {
            fs::write(&this.config, yaml).unwrap();
        }
        this
    }

    /// Saves the tensors again in float32 after `edit`.
    pub(crate) fn with(self, edit: impl FnOnce(&mut Tensors)) -> Self {
        let file = TensorFile::open(&self.weights).unwrap();
        let mut tensors: Tensors = file
            .tensors()
            .map(|(name, info)| {
                let data = file.read(name, &info.shape, Order::AsStored).unwrap();
                (name.to_owned(), (info.shape.clone(), data.iter::<f32>().collect()))
            })
            .collect();
        edit(&mut tensors);
        let bytes = match self.weights.extension().unwrap().to_str().unwrap() {
            "npz" => npz(&tensors),
            "safetensors" => safetensors(&tensors),
            _ => pt(&tensors, &self.others),
        };
        fs::write(&self.weights, bytes).unwrap();
        self
    }

    pub(crate) fn without(self, tensor: &str) -> Self {
        self.with(|tensors| assert!(tensors.remove(tensor).is_some(), "no {tensor}"))
    }

    pub(crate) fn with_tensor(self, name: &str, shape: &[usize]) -> Self {
        self.with_tensor_of(name, shape, 0.5)
    }

    pub(crate) fn with_tensor_of(self, name: &str, shape: &[usize], value: f32) -> Self {
        self.with(|tensors| {
            let values = vec![value; shape.iter().product()];
            tensors.insert(name.to_owned(), (shape.to_vec(), values));
        })
    }

    pub(crate) fn transposed(self, name: &str) -> Self {
        self.with(|tensors| tensors.get_mut(name).unwrap().0.reverse())
    }

    /// Sets the seventh number of a tensor to `bad`.
    pub(crate) fn with_number(self, name: &str, bad: f32) -> Self {
        self.with(|tensors| tensors.get_mut(name).unwrap().1[7] = bad)
    }

    /// Sets the value at a JSON pointer in the configuration.
    pub(crate) fn with_config(self, pointer: &str, value: Json) -> Self {
        let mut config: Json = serde_json::from_slice(&fs::read(&self.config).unwrap()).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        fs::write(&self.config, config.to_string()).unwrap();
        self
    }

    pub(crate) fn without_config(self, key: &str) -> Self {
        let mut config: Json = serde_json::from_slice(&fs::read(&self.config).unwrap()).unwrap();
        assert!(config.as_object_mut().unwrap().remove(key).is_some(), "no {key}");
        fs::write(&self.config, config.to_string()).unwrap();
        self
    }

    pub(crate) fn with_bytes(self, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        fs::write(&self.weights, edit(fs::read(&self.weights).unwrap())).unwrap();
        self
    }

    pub(crate) fn load(&self) -> Result<LoadedSae, CheckpointError> {
        load_sae(&self.weights, &device())
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn header(shape: &[usize]) -> String {
    let sizes = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sizes = if shape.len() == 1 { sizes + "," } else { sizes };
    format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}\n")
}

pub(crate) fn npz(tensors: &Tensors) -> Vec<u8> {
    let arrays: Vec<(String, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (format!("{name}.npy"), npy(&header(shape), &floats(values)))
        })
        .collect();
    let entries: Vec<_> =
        arrays.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())).collect();
    zip_archive(&entries, CompressionMethod::Stored)
}

pub(crate) fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.values().map(|(_, values)| floats(values)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, (shape, _)), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

pub(crate) fn pt(tensors: &Tensors, others: &[(String, Py)]) -> Vec<u8> {
    let mut root: Vec<(String, Py)> = others.to_vec();
    let mut storages = Vec::new();
    for (name, (shape, values)) in tensors {
        root.push((name.clone(), Py::Tensor(PyTensor::whole(name, shape))));
        storages.push((name.as_str(), floats(values)));
    }
    let storages: Vec<_> = storages.iter().map(|(key, bytes)| (*key, bytes.as_slice())).collect();
    torch_zip(&pickle(&Py::Dict(root)), &storages)
}

pub(crate) fn top_k_state(k: Py, postact: &str) -> Py {
    Py::Dict(vec![("k".to_owned(), k), ("postact_fn".to_owned(), postact.into())])
}
