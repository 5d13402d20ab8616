//! Helpers of the fuzz targets.

mod families;

pub use families::{FAMILIES, family_weights};

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nanoscope_checkpoint::{Order, TensorFile};
use nanoscope_testing::pickle::{self, Py, PyTensor};
use tempfile::TempDir;

/// The temporary folder of the process; file names are not fuzzed.
pub static DIR: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder can be made"));

/// Opens a file of these bytes and reads every tensor in it.
pub fn read_tensors(bytes: &[u8]) {
    let Ok(file) = TensorFile::open(&put("weights.pt", bytes)) else {
        return;
    };
    for (name, info) in file.tensors() {
        assert!(info.len() * info.dtype.size() <= bytes.len(), "{name} is larger than its file");
        let mut ways = vec![(info.shape.clone(), Order::AsStored)];
        if let [rows, columns] = info.shape[..] {
            ways.push((vec![columns, rows], Order::Transposed));
        }
        for (shape, order) in ways {
            if let Ok(data) = file.read(name, &shape, order) {
                assert_eq!(data.num_elements(), info.len(), "{name}");
            }
        }
    }
}

/// A file as `torch.save` writes it, with the storages `0` and `1`.
pub fn torch_zip(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    pickle::torch_zip(pickle, &[("0", storage), ("1", storage)])
}

/// The pickle of a top-k SAE's weights without a configuration, all in storage `0`.
pub fn sae_pickle(d_in: usize, d_sae: usize) -> Vec<u8> {
    let weights = dict(&[
        ("W_enc", &[d_in, d_sae]),
        ("W_dec", &[d_sae, d_in]),
        ("b_enc", &[d_sae]),
        ("b_dec", &[d_in]),
    ]);
    pickle::pickle(&Py::Dict(vec![("sae_state_dict".to_owned(), weights)]))
}

/// The pickle of a dictionary of tensors, all in storage `0`.
pub fn tensors_pickle(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    pickle::pickle(&dict(tensors))
}

fn dict(tensors: &[(&str, &[usize])]) -> Py {
    let tensor = |shape: &[usize]| PyTensor { key: "0".to_owned(), ..PyTensor::whole("", shape) };
    let entry = |&(name, shape): &(&str, &[usize])| (name.to_owned(), Py::Tensor(tensor(shape)));
    Py::Dict(tensors.iter().map(entry).collect())
}

/// A safetensors file of a one-block model in transformers' layout, with every weight 0.125.
pub fn hugging_face_weights(vocab: usize, width: usize, d_mlp: usize) -> Vec<u8> {
    let mut tensors = vec![
        ("lm_head".to_owned(), vocab, width),
        ("model.embed_tokens".to_owned(), vocab, width),
        ("model.layers.0.mlp.fc1".to_owned(), d_mlp, width),
        ("model.layers.0.mlp.fc2".to_owned(), width, d_mlp),
    ];
    for part in ["q", "k", "v", "o"] {
        tensors.push((format!("model.layers.0.self_attn.{part}_proj"), width, width));
    }
    let weights: Vec<_> = tensors
        .into_iter()
        .map(|(name, rows, columns)| (format!("{name}.weight"), [rows, columns]))
        .collect();
    let weights: Vec<(&str, &[usize])> =
        weights.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    safetensors(&weights)
}

/// A safetensors file of these tensors, with every value 0.125.
pub fn safetensors(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let mut start = 0;
    let entries = tensors.iter().map(|(name, shape)| {
        let end = start + 4 * shape.iter().product::<usize>();
        let entry = format!(
            r#""{name}": {{"dtype": "F32", "shape": {shape:?}, "data_offsets": [{start}, {end}]}}"#
        );
        start = end;
        entry
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(", "));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(std::iter::repeat_n(0.125_f32.to_le_bytes(), start / 4).flatten());
    bytes
}

/// Inspects and loads the SAE in the file at `path`.
pub fn load_sae(path: &Path) {
    let _ = nanoscope_checkpoint::inspect(path, None);
    if let Ok(loaded) = nanoscope_checkpoint::load_sae(path, &nanoscope_testing::test_device()) {
        let _ = (loaded.hook(), loaded.hook_out());
    }
}

/// Writes a file, and its parent folders, in the folder of the process. It replaces an existing file
/// instead of writing into it, because that may be memory-mapped.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let (temporary, path) = (DIR.path().join("temporary"), DIR.path().join(name));
    let folder = path.parent().expect("a file lies in a folder");
    std::fs::create_dir_all(folder).expect("a folder can be made");
    std::fs::write(&temporary, bytes).expect("a file can be written");
    std::fs::rename(&temporary, &path).expect("a file can be renamed");
    path
}
