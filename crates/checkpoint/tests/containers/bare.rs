//! Files of one tensor without a name, and packed arrays.

use std::fs;

use nanoscope_checkpoint::{ActivationFile, CheckpointError, TensorFile, load_vector};
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use tempfile::TempDir;
use zip::CompressionMethod;

use crate::writers::{Number, npy, npz};

/// Pickles of one tensor of two numbers, in every way in which a script may save it.
fn pickles() -> [(&'static str, Py); 7] {
    let tensor = || Py::Tensor(PyTensor::whole("0", &[2]));
    let parameter = Py::Call(
        "torch._utils",
        "_rebuild_parameter",
        vec![tensor(), Py::Bool(true), Py::Call("collections", "OrderedDict", vec![])],
    );
    let list = |item: Py| Py::List(vec![item]);
    let dict = |item: Py| Py::Dict(vec![("v".to_owned(), item)]);
    [
        ("a tensor", tensor()),
        ("a parameter", parameter.clone()),
        ("a list", list(tensor())),
        ("a tuple", Py::Tuple(vec![tensor()])),
        ("a dictionary", dict(tensor())),
        ("a list of a dictionary", list(dict(parameter))),
        ("a dictionary of a list, and a number", {
            Py::Dict(vec![("v".to_owned(), list(tensor())), ("layer".to_owned(), Py::Int(3))])
        }),
    ]
}

#[test]
fn the_only_tensor_of_a_file_is_read_however_it_was_saved_and_named() {
    let numbers: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let pt = |py: &Py| torch_zip(&pickle(py), &[("0", &numbers)]);
    let mut files: Vec<(&str, Vec<u8>)> =
        pickles().iter().map(|(case, py)| (*case, pt(py))).collect();
    files.push((".npy", npy("<f4", &[2], &numbers)));
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        files.push((".npz", npz(Number::F32, method, &[("v", vec![2], vec![1.5, -2.0])])));
    }
    for (case, bytes) in &files {
        // Recognised by its content, whatever its name.
        for name in ["v.pt", "v.bin", "v.ckpt", "v.PT", "v.npy", "v"] {
            let dir = TempDir::new().unwrap();
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();

            assert_eq!(load_vector(&path, None, None).unwrap(), [1.5, -2.0], "{case} in {name}");
            let mut file = ActivationFile::open(&path, None, 2).unwrap();
            assert_eq!((file.rows(), file.read(0, 1).unwrap()), (1, vec![1.5, -2.0]), "{case}");
        }
    }
}

#[test]
fn a_file_of_several_tensors_or_none_says_which_there_are() {
    let tensor = |key: &str| Py::Tensor(PyTensor::whole(key, &[1]));
    let open = |py: &Py| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("v.pt");
        fs::write(&path, torch_zip(&pickle(py), &[("0", &[0; 4]), ("1", &[0; 4])])).unwrap();
        load_vector(&path, None, None).unwrap_err().to_string()
    };

    let two = open(&Py::List(vec![tensor("0"), tensor("1")]));
    assert!(two.contains("no tensor is selected; it has 0, 1"), "{two}");
    for (py, says) in [
        (Py::List(vec![Py::Int(1)]), "expected a dictionary or tensors at the root, found a list"),
        (Py::Int(1), "found an int"),
        (Py::None, "found None"),
    ] {
        let text = open(&py);
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_packed_npz_that_lies_or_expands_is_refused() {
    let zeros = vec![0.0; 40 << 20];
    let bomb = npz(Number::F32, CompressionMethod::Deflated, &[("v", vec![zeros.len()], zeros)]);
    assert!(bomb.len() < 1 << 20);
    let good = npz(Number::F32, CompressionMethod::Deflated, &[("v", vec![64], vec![0.25; 64])]);
    let open = |bytes: &[u8]| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("v.npz");
        fs::write(&path, bytes).unwrap();
        TensorFile::open(&path)
    };
    open(&good).unwrap();

    let error = open(&bomb).unwrap_err();
    assert!(matches!(error, CheckpointError::Npz { .. }), "{error:?}");
    assert!(error.to_string().contains("its arrays unpack from"), "{error}");
    let mut refused = 0;
    for at in 0..good.len() {
        let mut lie = good.clone();
        lie[at] ^= 0x10;
        // Never a panic; the numbers are checked by their checksum.
        refused += usize::from(open(&lie).is_err());
    }
    assert!(refused > good.len() / 3, "{refused} of {}", good.len());
    for cut in 0..good.len() {
        assert!(open(&good[..cut]).is_err(), "cut at {cut}");
    }
}
