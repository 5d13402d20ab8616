//! Files with steering vectors.

use nanoscope_checkpoint::{CheckpointError, TensorFile, load_vector};
use nanoscope_testing::gguf;
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::files::{file, floats};
use crate::refused;

fn directions() -> Vec<u8> {
    let half = |values: [f32; 2]| values.map(half::f16::from_f32).map(half::f16::to_le_bytes);
    gguf(
        "controlvector",
        &[
            ("direction.1", 0, &[2], floats(&[1.0, 2.0])),
            ("direction.2", 1, &[2], half([3.0, -4.5]).concat()),
        ],
    )
}

fn safetensors(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let bytes: Vec<_> = tensors.iter().map(|(.., values)| floats(values)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn load(
    name: &str,
    bytes: &[u8],
    key: Option<&str>,
    layer: Option<usize>,
) -> Result<Vec<f32>, CheckpointError> {
    let (_dir, path) = file(name, bytes);
    load_vector(&path, key, layer)
}

#[test]
fn a_vector_is_read_from_every_kind_of_file() {
    let gguf = directions();
    assert_eq!(load("v.gguf", &gguf, None, Some(1)).unwrap(), [1.0, 2.0]);
    assert_eq!(load("v.gguf", &gguf, None, Some(2)).unwrap(), [3.0, -4.5]);
    assert_eq!(load("v.gguf", &gguf, Some("direction.2"), None).unwrap(), [3.0, -4.5]);

    let one = safetensors(&[("v", &[1, 3], &[1.0, 2.0, 3.0])]);
    assert_eq!(load("v.safetensors", &one, None, Some(7)).unwrap(), [1.0, 2.0, 3.0]);

    let two = safetensors(&[("a", &[1], &[1.0]), ("b", &[2], &[2.0, 3.0])]);
    assert_eq!(load("v.safetensors", &two, Some("b"), None).unwrap(), [2.0, 3.0]);

    let tensor = Py::Tensor(PyTensor::whole("v", &[2]));
    let pt = pickle(&Py::Dict(vec![("v".to_owned(), tensor)]));
    let pt = torch_zip(&pt, &[("v", &floats(&[5.0, 6.0]))]);
    assert_eq!(load("v.pt", &pt, None, None).unwrap(), [5.0, 6.0]);
}

#[test]
fn a_vector_that_is_not_there_is_refused_with_those_that_are() {
    let gguf = directions();
    let two = safetensors(&[("a", &[1], &[1.0]), ("b", &[2], &[2.0, 3.0])]);
    for (case, found, says) in [
        ("another layer", load("v.gguf", &gguf, None, Some(3)), "no tensor `direction.3`"),
        ("no layer", load("v.gguf", &gguf, None, None), "no tensor is selected"),
        ("another key", load("v.gguf", &gguf, Some("b"), Some(1)), "no tensor `b`"),
    ] {
        refused!(
            case,
            found,
            CheckpointError::NoSuchVector { .. },
            ["v.gguf", says, "direction.1, direction.2"]
        );
    }
    refused!(
        "no key",
        load("v.safetensors", &two, None, Some(1)),
        CheckpointError::NoSuchVector { key: None, .. },
        ["v.safetensors", "no tensor is selected", "a, b"]
    );
    refused!(
        "empty file of tensors",
        load("v.safetensors", &safetensors(&[]), None, None),
        CheckpointError::NoSuchVector { .. },
        ["v.safetensors", "it has none"]
    );
}

#[test]
fn what_is_no_vector_of_numbers_is_refused() {
    for shape in [vec![2, 2], vec![4, 1], vec![1, 2, 2], vec![0], vec![]] {
        let values = vec![0.5; shape.iter().product()];
        let bytes = safetensors(&[("v", &shape, &values)]);
        refused!(
            format!("shape {shape:?}"),
            load("v.safetensors", &bytes, None, None),
            CheckpointError::NotAVector { .. },
            ["v.safetensors", "`v`", &format!("{shape:?}"), "a vector"]
        );
    }
    refused!(
        "NaN",
        load("v.safetensors", &safetensors(&[("v", &[2], &[0.0, f32::NAN])]), None, None),
        CheckpointError::NotFinite { at: 1, .. },
        ["v.safetensors", "`v`", "index 1"]
    );
    refused!(
        "infinity in 16 bits",
        load("v.gguf", &gguf("controlvector", &[("d", 1, &[1], vec![0, 0x7c])]), None, None),
        CheckpointError::NotFinite { at: 0, .. },
        ["v.gguf", "`d`", "index 0"]
    );
    refused!(
        "a model in GGUF",
        load("v.gguf", &gguf("llama", &[("d", 0, &[1], floats(&[1.0]))]), Some("d"), None),
        CheckpointError::UnknownValue { .. },
        ["v.gguf", "general.architecture is `llama`", "controlvector"]
    );
    let quantised = gguf("controlvector", &[("direction.1", 8, &[32], vec![0; 34])]);
    refused!(
        "a quantised direction",
        load("v.gguf", &quantised, None, Some(1)),
        CheckpointError::UnreadDtype { .. },
        ["v.gguf", "tensor `direction.1` is Q8_0, which is not read"]
    );
}

#[test]
fn a_gguf_that_is_cut_or_lies_is_refused() {
    let good = directions();
    let open = |bytes: &[u8]| {
        let (_dir, path) = file("v.gguf", bytes);
        TensorFile::open(&path).map(|_| ())
    };
    open(&good).unwrap();
    for cut in 4..good.len() - 31 {
        refused!(
            format!("cut after {cut} bytes"),
            open(&good[..cut]),
            CheckpointError::Gguf { .. },
            ["v.gguf"]
        );
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut lie = good.clone();
        lie[at..at + bytes.len()].copy_from_slice(bytes);
        lie
    };
    let one = |kind, dimensions: &[u64]| gguf("x", &[("d", kind, dimensions, vec![0; 32])]);
    let twice = gguf("x", &[("d", 0, &[1], vec![0; 4]), ("d", 0, &[1], vec![0; 4])]);
    for (case, bytes, says) in [
        ("version 1", with(4, &1_u32.to_le_bytes()), "unknown version 1"),
        ("tensors without end", with(8, &u64::MAX.to_le_bytes()), "the file has"),
        ("metadata without end", with(16, &u64::MAX.to_le_bytes()), "the file has"),
        ("a text without end", with(24, &u64::MAX.to_le_bytes()), "18446744073709551615 bytes"),
        ("an unknown kind", with(52, &77_u32.to_le_bytes()), "unknown kind 77"),
        ("an array of arrays", with(52, &[9, 0, 0, 0, 9, 0, 0, 0]), "unknown kind 9"),
        ("a shape beyond memory", one(0, &[1 << 40, 1 << 40]), "past the end of the file"),
        ("a shape beyond the file", one(0, &[9]), "past the end of the file"),
        ("five dimensions", one(0, &[1; 5]), "5 dimensions"),
        ("one name twice", twice, "are named `d`"),
    ] {
        let case = format!("GGUF: {case}");
        refused!(case, open(&bytes), CheckpointError::Gguf { .. }, ["v.gguf", says]);
    }
}
