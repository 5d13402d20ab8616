//! Element types that are read, and those that are not.

use std::fs;

use nanoscope_checkpoint::{
    ActivationFile, CheckpointError, Dtype, Order, TensorFile, load_sae, load_vector,
};
use nanoscope_testing::gguf;
use nanoscope_testing::pickle::{Py, pickle, torch_zip, zip_archive};
use safetensors::tensor::TensorView;
use tempfile::TempDir;
use zip::CompressionMethod;

use crate::writers::{fixture, npy};

/// A `.pt` file with the tensor `w` of this type in `torch`, as `torch.save` writes those without a
/// storage type.
fn pt(dtype: &str, len: i64, numbers: &[u8], metadata: &[u8]) -> Vec<u8> {
    let mut storage = Vec::new();
    storage.extend(b"(X\x07\x00\x00\x00storagectorch.storage\nUntypedStorage\nX\x01\x00\x00\x000");
    storage.extend(b"X\x03\x00\x00\x00cpuJ");
    storage.extend((numbers.len() as i32).to_le_bytes());
    storage.extend(b"tQ");
    let mut args = vec![
        Py::Raw(storage),
        Py::Int(0),
        Py::Tuple(vec![Py::Int(len)]),
        Py::Tuple(vec![Py::Int(1)]),
        Py::Bool(false),
        Py::Call("collections", "OrderedDict", vec![]),
        Py::Raw(format!("ctorch\n{dtype}\n").into_bytes()),
    ];
    if !metadata.is_empty() {
        args.push(Py::Raw(metadata.to_vec()));
    }
    let tensor = Py::Call("torch._utils", "_rebuild_tensor_v3", args);
    torch_zip(&pickle(&Py::Dict(vec![("w".to_owned(), tensor)])), &[("0", numbers)])
}

fn safetensors(tensors: &[(&str, safetensors::Dtype, usize, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, len, bytes)| {
        (*name, TensorView::new(*dtype, vec![*len], bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn file(name: &str, bytes: &[u8]) -> (TempDir, TensorFile) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let file = TensorFile::open(&path).unwrap();
    (dir, file)
}

#[test]
fn float8_is_read_in_every_container_that_has_it() {
    use safetensors::Dtype::{F8_E4M3, F8_E5M2};

    let (e4m3, e5m2) = (vec![0x38, 0xc2, 0x7e, 0x01], vec![0x3c, 0xc1, 0x7b, 0x01]);
    for (name, bytes, dtype, expected) in [
        (
            "a.safetensors",
            safetensors(&[("w", F8_E4M3, 4, e4m3.clone())]),
            Dtype::F8E4M3,
            [1.0, -2.5, 448.0, 0.001_953_125],
        ),
        (
            "a.safetensors",
            safetensors(&[("w", F8_E5M2, 4, e5m2.clone())]),
            Dtype::F8E5M2,
            [1.0, -2.5, 57_344.0, 1.525_878_9e-5],
        ),
        (
            "a.pt",
            pt("float8_e4m3fn", 4, &e4m3, b""),
            Dtype::F8E4M3,
            [1.0, -2.5, 448.0, 0.001_953_125],
        ),
        (
            "a.pt",
            pt("float8_e5m2", 4, &e5m2, b"}(X\x03\x00\x00\x00neg\x88u"),
            Dtype::F8E5M2,
            [-1.0, 2.5, -57_344.0, -1.525_878_9e-5],
        ),
    ] {
        let (_dir, file) = file(name, &bytes);

        assert_eq!(file.info("w").unwrap().dtype, dtype);
        let data = file.read("w", &[4], Order::AsStored).unwrap();
        assert_eq!(data.iter::<f32>().collect::<Vec<_>>(), expected, "{name}, {dtype}");
        assert_eq!(load_vector(file.path(), None, None).unwrap(), expected, "{name}, {dtype}");
    }
}

#[test]
fn float8_with_a_scale_is_refused_with_both_names() {
    use safetensors::Dtype::{F8_E4M3, F32};

    for scale in ["w_scale", "w.scale", "w_scale_inv", "scale", "scale_w"] {
        let bytes = safetensors(&[("w", F8_E4M3, 1, vec![0x38]), (scale, F32, 1, vec![0; 4])]);
        let (_dir, file) = file("a.safetensors", &bytes);

        let error = file.read("w", &[1], Order::AsStored).unwrap_err();

        assert!(matches!(error, CheckpointError::ScaledFloat8 { .. }), "{scale}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("`w` is float8 with the scale `{scale}`")), "{text}");
        assert_eq!(file.read(scale, &[1], Order::AsStored).unwrap().num_elements(), 1);
    }
}

#[test]
fn a_type_that_is_not_read_is_an_error_by_name_in_every_container() {
    use safetensors::Dtype::{C64, F8_E8M0, U32};

    let packed = |descr: &str, size: usize| npy(descr, &[2], &vec![0; 2 * size]);
    let in_npz = |array: Vec<u8>| {
        zip_archive(&[("w.npy".to_owned(), array.as_slice())], CompressionMethod::Stored)
    };
    let quantised = |kind, bytes| gguf("controlvector", &[("w", kind, &[32], vec![0; bytes])]);
    for (container, bytes, says) in [
        ("a.safetensors", safetensors(&[("w", F8_E8M0, 2, vec![0; 2])]), "F8_E8M0"),
        ("a.safetensors", safetensors(&[("w", C64, 2, vec![0; 16])]), "C64"),
        ("a.safetensors", safetensors(&[("w", U32, 2, vec![0; 8])]), "U32"),
        ("a.npz", in_npz(packed("<c8", 8)), "complex"),
        ("a.npz", in_npz(packed("|V2", 2)), "of a type that numpy does not know"),
        ("a.npz", in_npz(packed("<u2", 2)), "an unsigned integer of more than 8 bits"),
        ("a.gguf", quantised(8, 34), "Q8_0"),
        ("a.gguf", quantised(2, 18), "Q4_0"),
        ("a.gguf", quantised(1000, 32), "of an unknown ggml type"),
        ("a.pt", pt("complex64", 2, &[0; 16], b""), "torch.complex64"),
        ("a.pt", pt("float8_e5m2fnuz", 2, &[0; 2], b""), "torch.float8_e5m2fnuz"),
        ("a.pt", pt("uint16", 2, &[0; 4], b""), "torch.uint16"),
        ("a.pt", pt("float128", 2, &[0; 32], b""), "of an unknown type"),
    ] {
        let (_dir, file) = file(container, &bytes);
        let case = format!("{container}, {says}");

        // It is there, which a format must be able to see.
        let info = file.info("w").unwrap();
        assert_eq!(info.dtype.to_string(), says, "{case}");
        assert_eq!(file.tensors().count(), 1, "{case}");
        let shape = info.shape.clone();
        for found in [
            file.read("w", &shape, Order::AsStored).map(|_| ()),
            file.read("w", &[1], Order::AsStored).map(|_| ()),
            file.integers("w", shape[0]).map(|_| ()),
            load_vector(file.path(), Some("w"), None).map(|_| ()),
            ActivationFile::open(file.path(), Some("w"), shape[0]).map(|_| ()),
        ] {
            let error = found.unwrap_err();
            assert!(matches!(error, CheckpointError::UnreadDtype { .. }), "{case}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(&format!("tensor `w` is {says}, which is not read")), "{text}");
        }
    }
}

#[test]
fn a_threshold_of_a_type_that_is_not_read_is_not_a_missing_one() {
    use safetensors::Dtype::F8_E8M0;

    // A file with a threshold has another function than one without.
    for (name, weights, config) in [
        ("saes/saelens/jumprelu", "sae_weights.safetensors", "cfg.json"),
        ("saes/saelens/batchtopk_inference", "sae_weights.safetensors", "cfg.json"),
        // The threshold alone makes it a JumpReLU.
        ("saes/circuit-tracer/jumprelu_skip/transcoders", "layer_1.safetensors", "config.yaml"),
    ] {
        let dir = TempDir::new().unwrap();
        fs::copy(fixture(name).join(config), dir.path().join(config)).unwrap();
        let file = TensorFile::open(&fixture(name).join(weights)).unwrap();
        let all: Vec<_> = file
            .tensors()
            .map(|(name, info)| {
                let data = file.read(name, &info.shape, Order::AsStored).unwrap();
                let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
                (name.to_owned(), info.shape.clone(), bytes)
            })
            .collect();
        let views = all.iter().map(|(name, shape, bytes)| {
            let count = shape.iter().product();
            let view = match name.as_str() {
                "threshold" | "activation_function.threshold" => {
                    TensorView::new(F8_E8M0, shape.clone(), &bytes[..count])
                }
                _ => TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes),
            };
            (name.as_str(), view.unwrap())
        });
        fs::write(dir.path().join(weights), safetensors::serialize(views, None).unwrap()).unwrap();

        let error = load_sae(dir.path(), &nanoscope_testing::test_device()).unwrap_err();

        let text = error.to_string();
        assert!(text.contains("threshold` is F8_E8M0"), "{name}: {text}");
    }
}

#[test]
fn a_negative_view_has_its_sign_and_a_conjugate_one_is_refused() {
    let numbers: Vec<u8> = [1.0_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let flag = |name: &str, value: u8| {
        [b"}(X", &(name.len() as u32).to_le_bytes()[..], name.as_bytes(), &[value, b'u']].concat()
    };
    let read = |dtype: &str, metadata: &[u8]| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.pt");
        fs::write(&path, pt(dtype, 2, &numbers, metadata)).unwrap();
        load_vector(&path, None, None)
    };
    let (no, yes) = (0x89, 0x88);
    for (metadata, expected) in [
        (flag("neg", yes), [-1.0, 2.0]),
        (flag("neg", no), [1.0, -2.0]),
        (flag("conj", no), [1.0, -2.0]),
        (b"N".to_vec(), [1.0, -2.0]),
        (b"}".to_vec(), [1.0, -2.0]),
    ] {
        assert_eq!(read("float32", &metadata).unwrap(), expected, "{metadata:?}");
    }
    for (dtype, metadata, says) in [
        ("float32", flag("conj", yes), "a conjugate view is not supported"),
        ("float32", flag("sparse", yes), "the metadata `sparse` is not supported"),
        ("int32", flag("neg", yes), "a negative view of i32 is not supported"),
        ("float32", b"K\x01".to_vec(), "the metadata of a tensor is an int"),
    ] {
        let error = read(dtype, &metadata).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says) && text.contains("tensor `w`"), "{text}");
    }
}
