//! Files written by PyTorch itself (`tests/fixtures/torch/make.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{LoadOptions, ModelFiles, Order, TensorFile};
use nanoscope_transformer::Era;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/torch").join(name)
}

#[test]
fn views_of_a_shared_storage_and_every_number_type_read_as_pytorch_has_them() {
    let json = std::fs::read(fixture("views.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&json).unwrap();
    for name in ["views.pt", "views_archive.pt"] {
        let file = TensorFile::open(&fixture(name)).unwrap();
        assert_eq!(file.tensors().count(), expected.len(), "{name}");
        for (tensor, Expected { shape, values }) in &expected {
            let data = file.read(tensor, shape, Order::AsStored).unwrap();
            let found: Vec<f32> = data.iter::<f32>().collect();
            assert_eq!(&found, values, "{tensor} of {name}");
        }
    }
}

#[test]
fn a_matrix_that_is_stored_transposed_is_turned_back() {
    let file = TensorFile::open(&fixture("views.pt")).unwrap();

    let turned = file.read("transposed", &[4, 6], Order::Transposed).unwrap();
    let whole = file.read("whole", &[4, 6], Order::AsStored).unwrap();

    assert_eq!(turned, whole);
}

#[test]
fn the_one_file_form_is_a_model_with_its_configuration_inside() {
    let files = ModelFiles::find(&fixture("single.pt")).unwrap();
    assert_eq!(files.config, None);

    let device = nanoscope_testing::test_device();
    let mut read = Vec::new();
    let model = files
        .load_with(
            &device,
            LoadOptions {
                progress: Some(&mut |done, total| read.push((done, total))),
                ..Default::default()
            },
        )
        .unwrap();

    assert_eq!(model.kind.era(), Some(Era::E6));
    assert_eq!(model.gpt.config().shape.n_kv_head, 2);
    // Progress ends at the total.
    let (done, total) = *read.last().unwrap();
    assert_eq!(done, total);
    assert!(read.is_sorted());
}
