//! An SAE with inputs of width 2 and three features, small enough to compute by hand.

mod decode;
mod encode;
mod fold;
mod matching_pursuit;
mod normalize;
mod weights;

use burn::tensor::{Tensor, TensorData};
use nanoscope_sae::{
    Architecture, GateWeights, MagnitudeWeights, Normalization, Sae, SaeConfig, SaeWeights,
};

fn device() -> burn::tensor::Device {
    nanoscope_testing::test_device()
}

/// `pre = [x0, x1 - 1, -x0 - x1]`, decoder rows `[1, 0]`, `[0, 2]`, `[-0.5, 0.25]`,
/// `b_dec = [10, 20]`.
///
/// - thresholds `[1, 0, -1]`
/// - the signed gate opens feature 0 always, 1 never, 2 where `x0 > 0`
/// - magnitudes `[2 (pre0 - b0) + 1, ½ (pre1 - b1), (pre2 - b2) - 1]`, where `b = [0, -1, 0]`
fn weights(architecture: Architecture) -> SaeWeights {
    let device = device();
    let common = SaeWeights::new(
        Tensor::from_floats([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]], &device),
        Tensor::from_floats([0.0, -1.0, 0.0], &device),
        Tensor::from_floats([[1.0, 0.0], [0.0, 2.0], [-0.5, 0.25]], &device),
        Tensor::from_floats([10.0, 20.0], &device),
    );
    SaeWeights {
        threshold: (architecture == Architecture::JumpRelu)
            .then(|| Tensor::from_floats([1.0, 0.0, -1.0], &device)),
        magnitude: (architecture == Architecture::Gated).then(|| MagnitudeWeights {
            r_mag: Tensor::from_floats([2.0_f32.ln(), 0.5_f32.ln(), 0.0], &device),
            b_mag: Tensor::from_floats([1.0, 0.0, -1.0], &device),
        }),
        gate: (architecture == Architecture::SignedGated).then(|| GateWeights {
            w_gate: Tensor::from_floats([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], &device),
            b_gate: Tensor::from_floats([1.0, -1.0, 0.0], &device),
        }),
        ..common
    }
}

fn config(architecture: Architecture) -> SaeConfig {
    SaeConfig::new(2, 3, architecture).unwrap()
}

fn sae(architecture: Architecture) -> Sae {
    Sae::new(config(architecture), weights(architecture)).unwrap()
}

fn normalised(normalization: Normalization) -> Sae {
    let config = config(Architecture::Relu).with_normalization(normalization).unwrap();
    Sae::new(config, weights(Architecture::Relu)).unwrap()
}

const TOP_2: Architecture = Architecture::TopK { k: 2, rescale_acts_by_decoder_norm: false };
const RESCALED_TOP_1: Architecture =
    Architecture::TopK { k: 1, rescale_acts_by_decoder_norm: true };

const ABS_TOP_2: Architecture = Architecture::AbsTopK { k: 2, rescale_acts_by_decoder_norm: false };
const PURSUIT: Architecture = Architecture::MatchingPursuit {
    residual_threshold: 0.01,
    max_iterations: 2,
    stop_on_duplicate_support: true,
};

/// Every architecture, with a `k` that fits the sizes.
const EVERY: [Architecture; 11] = [
    Architecture::Relu,
    Architecture::JumpRelu,
    TOP_2,
    RESCALED_TOP_1,
    ABS_TOP_2,
    Architecture::AbsTopK { k: 2, rescale_acts_by_decoder_norm: true },
    Architecture::GroupMax { k: 1 },
    Architecture::Gated,
    Architecture::SignedTopK { k: 2 },
    Architecture::SignedGated,
    PURSUIT,
];

fn x(rows: [[f32; 2]; 2]) -> Tensor<2> {
    Tensor::from_floats(rows, &device())
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().unwrap()
}

#[track_caller]
fn assert_features(sae: &Sae, rows: [[f32; 2]; 2], expected: [[f32; 3]; 2]) {
    let expected: Vec<f32> = expected.into_iter().flatten().collect();
    assert_close(&values(sae.encode(x(rows)).unwrap()), &expected);
    let sparse = sae.encode_sparse(x(rows)).unwrap();
    assert_close(&sparse.to_dense(), &expected);

    let dense = Tensor::from_data(TensorData::new(expected, [2, 3]), &x(rows).device());
    assert_close(&values(sae.decode_sparse(&sparse, x(rows))), &values(sae.decode(dense, x(rows))));
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found_one, expected_one) in found.iter().zip(expected) {
        let zeros_agree = (*found_one == 0.0) == (*expected_one == 0.0);
        let near = (found_one - expected_one).abs() <= 1e-5 * expected_one.abs().max(1.0);
        assert!(zeros_agree && near, "{found:?} is not {expected:?}");
    }
}

#[track_caller]
fn assert_decoded(sae: &Sae, rows: [[f32; 2]; 2], expected: [[f32; 2]; 2]) {
    let expected: Vec<f32> = expected.into_iter().flatten().collect();
    let sparse = sae.encode_sparse(x(rows)).unwrap();
    assert_close(&values(sae.decode_sparse(&sparse, x(rows))), &expected);
    assert_close(&values(sae.decode(sae.encode(x(rows)).unwrap(), x(rows))), &expected);
}
