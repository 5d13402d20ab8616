//! SAEs with faulty weights, and folders of SAEs.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{
    CheckpointError, LoadedSae, SaeFileError, TensorFile, inspect, load_saes,
};
use nanoscope_testing::pickle::{Py, PyTensor};
use serde_json::json;
use tempfile::TempDir;

use crate::files::{D_IN, D_SAE, SaeFile, device, file, floats};
use crate::refused;

#[test]
fn weights_that_are_not_the_saes_are_refused_by_name() {
    let mut missing = SaeFile::valid();
    missing.weights.retain(|(name, _)| name != "b_dec");
    refused!(
        "missing weight",
        missing.load(),
        CheckpointError::MissingTensor { .. },
        ["sae.pt", "sae_state_dict.b_dec"]
    );
    let mut extra = SaeFile::valid();
    extra.put("threshold", &[D_SAE]);
    refused!(
        "weight too many",
        extra.load(),
        CheckpointError::SaeFile(SaeFileError::UnexpectedSaeTensor { .. }),
        ["sae.pt", "threshold", "signed top-k"]
    );
    refused!(
        "gated SAE without its gate",
        SaeFile::with_config("activation", json!("gated")).load(),
        CheckpointError::MissingTensor { .. },
        ["sae.pt", "sae_state_dict.W_gate"]
    );
    let mut gated = SaeFile::valid();
    gated.put("W_gate", &[D_IN, D_SAE]);
    gated.put("b_gate", &[D_SAE]);
    refused!(
        "gate in an SAE without one",
        gated.load(),
        CheckpointError::SaeFile(SaeFileError::UnexpectedSaeTensor { .. }),
        ["sae.pt", "_gate", "signed top-k"]
    );
    for (name, shape, expected) in [
        ("W_enc", vec![D_SAE, D_IN], "[4, 8]"),
        ("W_dec", vec![D_IN, D_SAE], "[8, 4]"),
        ("b_enc", vec![D_IN], "[8]"),
        ("b_dec", vec![], "[4]"),
        ("b_dec", vec![0], "[4]"),
    ] {
        let mut wrong = SaeFile::valid();
        wrong.put(name, &shape);
        refused!(
            format!("{name} of shape {shape:?}"),
            wrong.load(),
            CheckpointError::ShapeMismatch { .. },
            ["sae.pt", name, &format!("{shape:?}"), expected]
        );
    }
    refused!(
        "weights for another d_in",
        SaeFile::with_config("d_in", json!(16)).load(),
        CheckpointError::ShapeMismatch { .. },
        ["sae.pt", "sae_state_dict.W_enc", "[4, 8]", "[16, 8]"]
    );
    let mut list = SaeFile::valid();
    list.put_value("W_enc", Py::List(vec![Py::Float(1.0)]));
    refused!(
        "list instead of a weight",
        list.load(),
        CheckpointError::MissingTensor { .. },
        ["sae.pt", "sae_state_dict.W_enc"]
    );
}

#[test]
fn a_weight_that_is_not_finite_is_refused_with_its_place() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.5; D_IN * D_SAE];
        values[13] = bad;
        let mut sae = SaeFile::valid();
        sae.storages.insert("W_dec".to_owned(), floats(&values));
        refused!(
            format!("{bad} in W_dec"),
            sae.load(),
            CheckpointError::NotFinite { at: 13, .. },
            ["sae.pt", "sae_state_dict.W_dec", "at index 13"]
        );

        let halves = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes());
        sae.storages.insert("W_dec".to_owned(), halves.collect());
        let mut tensor = PyTensor::whole("W_dec", &[D_SAE, D_IN]);
        tensor.storage_type = "BFloat16Storage";
        sae.put_value("W_dec", Py::Tensor(tensor));
        refused!(
            format!("{bad} in W_dec, bf16"),
            sae.load(),
            CheckpointError::NotFinite { at: 13, .. },
            ["sae.pt", "sae_state_dict.W_dec", "at index 13"]
        );
    }
    let mut large = SaeFile::valid();
    let values = [1.0, 2.0, 1e300, 4.0].map(f64::to_le_bytes).concat();
    large.storages.insert("b_dec".to_owned(), values);
    let mut tensor = PyTensor::whole("b_dec", &[D_IN]);
    tensor.storage_type = "DoubleStorage";
    large.put_value("b_dec", Py::Tensor(tensor));
    refused!(
        "float64 beyond float32",
        large.load(),
        CheckpointError::NotFinite { at: 2, .. },
        ["sae.pt", "sae_state_dict.b_dec", "at index 2"]
    );
}

#[test]
fn a_file_of_something_else_is_no_sae() {
    let mut model = SaeFile::valid();
    model.state_dict = "state_dict";
    refused!(
        "no sae_state_dict",
        model.load(),
        CheckpointError::SaeFile(SaeFileError::NotAnSae { .. }),
        ["sae.pt", "state_dict.W_enc"]
    );
}

/// A folder with an SAE of each hook point in the file named beside it.
fn folder(saes: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, hook) in saes {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, SaeFile::with_config("hook_point", json!(hook)).bytes()).unwrap();
    }
    dir
}

fn load_folder(path: &Path) -> Result<Vec<LoadedSae>, CheckpointError> {
    load_saes(&[path.to_owned()], &device())
}

#[test]
fn two_saes_for_one_hook_point_are_refused_with_both_files() {
    let one = "blocks.1.hook_resid_post";
    let dir = folder(&[("layer_1/best_model.pt", one), ("again/sae_final.pt", one)]);
    refused!(
        "two SAEs for one hook point",
        load_folder(dir.path()),
        CheckpointError::SaeFile(SaeFileError::TwoSaes { .. }),
        [one, "layer_1/best_model.pt", "again/sae_final.pt"]
    );
    let dir = folder(&[("a.pt", "blocks.2.hook_mlp"), ("b.pt", "blocks.2.hook_mlp_out")]);
    refused!(
        "two SAEs for one hook point of two names",
        load_folder(dir.path()),
        CheckpointError::SaeFile(SaeFileError::TwoSaes { .. }),
        ["blocks.2.hook_mlp_out", "a.pt", "b.pt"]
    );
}

#[test]
fn a_path_without_saes_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    refused!(
        "empty folder",
        load_folder(dir.path()),
        CheckpointError::SaeFile(SaeFileError::NoSae { .. }),
        [path]
    );
    refused!(
        "missing folder",
        load_folder(&dir.path().join("gone")),
        CheckpointError::NoSuchPath { .. },
        [path, "gone: no such file or directory"]
    );
    refused!(
        "inspection of an empty folder",
        inspect(dir.path(), None),
        CheckpointError::NothingKnown { .. },
        [path]
    );

    fs::write(dir.path().join("notes.txt"), b"no SAE").unwrap();
    fs::create_dir(dir.path().join("best_model.pt")).unwrap();
    refused!(
        "folder called best_model.pt",
        load_folder(dir.path()),
        CheckpointError::SaeFile(SaeFileError::NoSae { .. }),
        [path]
    );
    let good = folder(&[("best_model.pt", "hook_embed")]);
    refused!(
        "good folder and empty folder",
        load_saes(&[good.path().to_owned(), PathBuf::from(path)], &device()),
        CheckpointError::SaeFile(SaeFileError::NoSae { .. }),
        [path]
    );
}

#[test]
fn one_broken_sae_of_several_is_named() {
    let dir =
        folder(&[("layer_0/best_model.pt", "hook_embed"), ("layer_1/sae_final.pt", "hook_embed")]);
    fs::write(dir.path().join("layer_1/sae_final.pt"), b"PK\x03\x04 and no more").unwrap();
    refused!(
        "one broken SAE of two",
        load_folder(dir.path()),
        CheckpointError::Pt { .. },
        ["layer_1/sae_final.pt"]
    );
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_end() {
    let dir = folder(&[("layer_0/best_model.pt", "hook_embed")]);
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    std::os::unix::fs::symlink(&a, &b).unwrap();
    std::os::unix::fs::symlink(&b, &a).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("layer_0/up")).unwrap();

    assert_eq!(load_folder(dir.path()).unwrap().len(), 1);
    refused!(
        "path that is a link in a circle",
        load_folder(&a),
        CheckpointError::Io { .. },
        [a.to_str().unwrap(), "symbolic links"]
    );
}

#[test]
fn a_hook_point_that_is_another_type_of_file_names_the_tensor_asked_for() {
    let (_dir, path) = file("sae.pt", &SaeFile::valid().bytes());
    let opened = TensorFile::open(&path).unwrap();
    refused!(
        "tensor that is not there",
        opened.info("W_skip"),
        CheckpointError::MissingTensor { .. },
        ["sae.pt", "W_skip"]
    );
}
