//! SAEs of every format compute what the tools that wrote them compute.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::{LoadedSae, load_sae};
use serde::Deserialize;

use crate::golden::{Arrays, assert_close, values};

const FEATURES_ATOL: f32 = 5e-5;
const RECONSTRUCTION_ATOL: f32 = 5e-5;

/// Rows of activations that each case has.
const ROWS: usize = 64;

#[derive(Debug, Deserialize)]
struct Case {
    case: String,
    path: PathBuf,
    hook: Option<String>,
    hook_out: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/saes")
}

/// The cases of one format, as the manifest lists them.
fn cases(format: &str) -> Vec<Case> {
    let manifest = std::fs::read(root().join("manifest.json")).unwrap();
    let all: Vec<Case> = serde_json::from_slice(&manifest).unwrap();
    let cases: Vec<Case> =
        all.into_iter().filter(|case| case.case.starts_with(&format!("{format}/"))).collect();
    assert!(!cases.is_empty(), "no cases of {format}");
    cases
}

fn load(case: &Case) -> LoadedSae {
    let device = nanoscope_device::for_tests();
    load_sae(&root().join(&case.path), &device).unwrap_or_else(|error| {
        panic!("{}: {error}: {:?}", case.case, std::error::Error::source(&error))
    })
}

/// Checks features, dense and sparse, and what they decode to.
fn check(case: &Case) {
    let name = &case.case;
    let loaded = load(case);
    let sae = &loaded.sae;
    let expected = Arrays::read(&root().join(name).join("expected.safetensors"));
    let x = expected.floats("x");
    let d_in = sae.config().d_in();
    assert_eq!(x.shape, [ROWS, d_in], "{name}");
    let x = Tensor::<2>::from_data(
        TensorData::new(x.values.clone(), [ROWS, d_in]),
        &nanoscope_device::for_tests(),
    );
    let features = expected.floats("features");
    let reconstruction = expected.floats("reconstruction");

    let sparse = sae.encode_sparse(x.clone());
    for (way, found) in [("dense", values(sae.encode(x.clone()))), ("sparse", sparse.to_dense())] {
        let active = |values: &[f32]| values.iter().map(|&v| v != 0.0).collect::<Vec<_>>();
        assert_eq!(active(&found), active(&features.values), "{name}, {way}: other features");
        let what = format!("{name}, {way} features");
        assert_close(what, &found, &features.values, FEATURES_ATOL);
    }
    for (way, found) in [
        ("dense", values(sae.decode(sae.encode(x.clone()), x.clone()))),
        ("sparse", values(sae.decode_sparse(&sparse, x))),
    ] {
        let what = format!("{name}, {way} reconstruction");
        assert_close(what, &found, &reconstruction.values, RECONSTRUCTION_ATOL);
    }
}

#[test]
fn saelens_files_of_every_version_compute_what_saelens_computes() {
    for case in cases("saelens") {
        check(&case);
        let loaded = load(&case);
        assert_eq!((loaded.place.hook, loaded.place.hook_out), (case.hook, case.hook_out));
        assert_eq!(loaded.format, "SAELens");
    }
}
