//! SAEs compute the same as nanochat-SAE on activations of our own model.

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::tensor::{DType, Tensor, TensorData};
use nanoscope_checkpoint::{MatrixDtype, WeightDtype, load_sae, load_sae_as};
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_sae::{GateWeights, Sae, SaeWeights};
use nanoscope_transformer::Logits;

use crate::golden::{self, Arrays, Golden, assert_close, values};

const FEATURES_ATOL: f32 = 5e-5;

/// Number of SAEs in each golden folder: three architectures at three hook points.
const SAES: usize = 9;

/// An SAE, its input activations, and its expected features and reconstructions.
struct Case {
    name: String,
    key: String,
    path: PathBuf,
    sae: Sae,
    x: Tensor<2>, // [batch * seq, d_in]
}

fn cases(golden: Golden) -> Vec<Case> {
    let device = nanoscope_testing::test_device();
    let (model, tokens) = (golden.model().gpt, golden.tokens());
    let manifest = golden.manifest();
    let listed = manifest["saes"].as_array().unwrap();
    assert_eq!(listed.len(), SAES, "{golden}");
    listed
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap();
            let key = text("key");
            let point: HookPoint = text("hook_point").parse().unwrap();
            let path = golden.dir().join(text("checkpoint"));
            let loaded = load_sae(&path, &device).unwrap();
            assert_eq!(loaded.hook().unwrap(), point, "{golden}, {key}");

            let mut recorder = ActivationRecorder::new([point]);
            model.forward(&tokens, Logits::All, &mut recorder).unwrap();
            let recording = recorder.finish().unwrap();
            let x: Tensor<3> = recording.get(point).unwrap().tensor();
            let [batch, seq, d_in] = x.dims();
            Case {
                name: format!("{golden}, {key}"),
                key: key.to_owned(),
                path,
                sae: loaded.sae,
                x: x.reshape([batch * seq, d_in]),
            }
        })
        .collect()
}

/// Every case of every golden folder.
fn each(mut check: impl FnMut(Case, &Arrays)) {
    for golden in golden::WITH_SAES {
        let expected = golden.sae_expected();
        for case in cases(golden) {
            check(case, &expected);
        }
    }
}

fn active(row: &[f32]) -> BTreeSet<usize> {
    (0..row.len()).filter(|&at| row[at] != 0.0).collect()
}

#[test]
fn features_are_those_of_the_reference_dense_and_sparse() {
    each(|case, expected| {
        let Case { name, key, sae, x, .. } = case;
        let wanted = expected.floats(&format!("{key}/features"));

        let dense = values(sae.encode(x.clone()).unwrap());
        let sparse = sae.encode_sparse(x).unwrap().to_dense();

        for (way, found) in [("dense", dense), ("sparse", sparse)] {
            for (row, (found, wanted)) in
                found.chunks(sae.config().d_sae()).zip(wanted.rows()).enumerate()
            {
                assert_eq!(active(found), active(wanted), "{name}, {way}, row {row}");
            }
            assert_close(format!("{name}, {way} features"), &found, &wanted.values, FEATURES_ATOL);
        }
    });
}

#[test]
fn reconstructions_are_those_of_the_reference_dense_and_sparse() {
    each(|case, expected| {
        let Case { name, key, sae, x, .. } = case;
        let wanted = expected.floats(&format!("{key}/reconstruction"));

        let dense = values(sae.decode(sae.encode(x.clone()).unwrap(), x.clone()));
        let sparse = values(sae.decode_sparse(&sae.encode_sparse(x.clone()).unwrap(), x));

        for (way, found) in [("dense", &dense), ("sparse", &sparse)] {
            assert_close(
                format!("{name}, {way} reconstruction"),
                found,
                &wanted.values,
                FEATURES_ATOL,
            );
        }
        assert_close(format!("{name}, sparse and dense"), &sparse, &dense, FEATURES_ATOL);
    });
}

#[test]
fn the_strongest_features_are_ranked_as_in_the_reference() {
    each(|case, expected| {
        let Case { name, key, sae, x, .. } = case;
        let indices = expected.ints(&format!("{key}/top5_idx"));
        let wanted = expected.floats(&format!("{key}/top5_val"));

        let features = sae.encode_sparse(x).unwrap();

        assert_eq!(features.rows(), wanted.shape[0], "{name}");
        for (row, (indices, wanted)) in indices.rows().zip(wanted.rows()).enumerate() {
            // The reference ranks inactive features too, at 0; their order depends on its sort and
            // does not matter.
            let positive = wanted.iter().filter(|&&value| value > 0.0).count();
            let found: Vec<_> = features
                .strongest(row, wanted.len())
                .into_iter()
                .filter(|&(_, value)| value > 0.0)
                .collect();
            let found_at: Vec<i64> = found.iter().map(|&(index, _)| i64::from(index)).collect();
            let found: Vec<f32> = found.iter().map(|&(_, value)| value).collect();

            assert_eq!(found_at, indices[..positive], "{name}, row {row}");
            assert_close(
                format!("{name}, row {row}, strongest"),
                &found,
                &wanted[..positive],
                FEATURES_ATOL,
            );
        }
    });
}

/// The SAE with its matrices rounded to `dtype`, each feature by its own largest number in 8 bits.
fn rounded(sae: &Sae, dtype: MatrixDtype) -> Sae {
    let device = sae.device();
    let round = |matrix: Tensor<2>, by_row: bool| {
        let [rows, columns] = matrix.dims();
        let numbers = golden::rounded(&values(matrix), columns, by_row, dtype);
        Tensor::<2>::from_data(TensorData::new(numbers, [rows, columns]), &device)
    };
    let weights = sae.weights();
    assert!(weights.w_skip.is_none());
    let weights = SaeWeights {
        w_enc: round(weights.w_enc, false),
        w_dec: round(weights.w_dec, true),
        gate: weights
            .gate
            .map(|gate| GateWeights { w_gate: round(gate.w_gate, false), b_gate: gate.b_gate }),
        ..weights
    };
    Sae::new(sae.config().clone(), weights).unwrap()
}

#[test]
fn an_sae_in_another_type_computes_with_its_rounded_matrices() {
    let device = nanoscope_testing::test_device();
    for case in golden::WITH_SAES.into_iter().flat_map(cases) {
        let Case { name, path, sae, x, .. } = case;
        for (dtype, of) in [
            (WeightDtype::F32.into(), DType::F32),
            (WeightDtype::BF16.into(), DType::BF16),
            (WeightDtype::F16.into(), DType::F16),
            (MatrixDtype::Int8, DType::I8),
        ] {
            let is_supported =
                if of == DType::I8 { !golden::on_gpu() } else { device.supports_dtype(of) };
            if !is_supported {
                continue;
            }
            let expected = rounded(&sae, dtype);

            let found = load_sae_as(&path, &device, dtype).unwrap().sae;

            assert_eq!(found.dtype(), of, "{name}");
            let [found, expected] = [found, expected].map(|sae| {
                let features = sae.encode_sparse(x.clone()).unwrap();
                let decoded = values(sae.decode_sparse(&features, x.clone()));
                (features.to_dense(), decoded)
            });
            assert_close(format!("{name}, {dtype}"), &found.0, &expected.0, FEATURES_ATOL);
            assert_close(format!("{name}, {dtype}"), &found.1, &expected.1, FEATURES_ATOL);
        }
    }
}
