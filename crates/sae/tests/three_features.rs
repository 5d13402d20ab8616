//! An SAE of two numbers and three features, small enough to work by hand.

use burn::tensor::{Tensor, TensorData};
use nanoscope_sae::{Architecture, GateWeights, Sae, SaeConfig, SaeError, SaeWeights};

/// `pre = [x0, x1 - 1, -x0 - x1]`, decoder rows `[1, 0]`, `[0, 2]`, `[-0.5, 0.25]`,
/// `b_dec = [10, 20]`; the gate opens feature 0 always, 1 never, 2 where `x0 > 0`.
fn sae(architecture: Architecture) -> Sae {
    let device = nanoscope_device::for_tests();
    let gate = (architecture == Architecture::SignedGated).then(|| GateWeights {
        w_gate: Tensor::from_floats([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], &device),
        b_gate: Tensor::from_floats([1.0, -1.0, 0.0], &device),
    });
    let weights = SaeWeights {
        w_enc: Tensor::from_floats([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]], &device),
        b_enc: Tensor::from_floats([0.0, -1.0, 0.0], &device),
        w_dec: Tensor::from_floats([[1.0, 0.0], [0.0, 2.0], [-0.5, 0.25]], &device),
        b_dec: Tensor::from_floats([10.0, 20.0], &device),
        gate,
    };
    Sae::new(SaeConfig::new(2, 3, architecture).unwrap(), weights).unwrap()
}

fn x(rows: [[f32; 2]; 2]) -> Tensor<2> {
    Tensor::from_floats(rows, &nanoscope_device::for_tests())
}

fn values(x: Tensor<2>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().unwrap()
}

#[track_caller]
fn assert_features(sae: &Sae, rows: [[f32; 2]; 2], expected: [[f32; 3]; 2]) {
    let expected: Vec<f32> = expected.into_iter().flatten().collect();
    assert_eq!(values(sae.encode(x(rows))), expected, "dense");
    let sparse = sae.encode_sparse(x(rows));
    assert_eq!(sparse.to_dense(), expected, "sparse");

    let dense = Tensor::from_data(TensorData::new(expected, [2, 3]), &x(rows).device());
    assert_eq!(values(sae.decode_sparse(&sparse)), values(sae.decode(dense)), "decoded");
}

#[test]
fn signed_top_k_keeps_negative_values_where_too_few_are_positive() {
    let sae = sae(Architecture::SignedTopK { k: 2 });

    // Pre-activations [3, 4, -8] and [-1, -3, 3]: of the second, -1 is kept.
    assert_features(&sae, [[3.0, 5.0], [-1.0, -2.0]], [[3.0, 4.0, 0.0], [-1.0, 0.0, 3.0]]);
}

#[test]
fn signed_top_k_keeps_the_earlier_of_equal_values() {
    let sae = sae(Architecture::SignedTopK { k: 1 });

    // Pre-activations [2, 2, -5] and [0, -1, 0]; a kept 0 is not active.
    assert_features(&sae, [[2.0, 3.0], [0.0, 0.0]], [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]);
    assert_eq!(sae.encode_sparse(x([[2.0, 3.0], [0.0, 0.0]])).nnz(), 1);
}

#[test]
fn relu_drops_negative_values() {
    assert_features(
        &sae(Architecture::Relu),
        [[3.0, 5.0], [-1.0, -2.0]],
        [[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]],
    );
}

#[test]
fn a_signed_gate_lets_negative_magnitudes_through_and_is_closed_at_exactly_zero() {
    // Gate logits [1, -1, x0]; the second row's third gate stands at exactly 0.
    assert_features(
        &sae(Architecture::SignedGated),
        [[3.0, 5.0], [0.0, 2.0]],
        [[3.0, 0.0, -8.0], [0.0, 0.0, 0.0]],
    );
}

#[test]
fn decoding_adds_the_active_rows_and_the_bias() {
    let sae = sae(Architecture::Relu);

    let back = values(sae.decode_sparse(&sae.encode_sparse(x([[3.0, 5.0], [-1.0, -2.0]]))));

    // 3·[1, 0] + 4·[0, 2] + [10, 20], and 3·[-0.5, 0.25] + [10, 20]
    assert_eq!(back, [13.0, 28.0, 8.5, 20.75]);
}

#[test]
fn rows_without_active_features_decode_to_the_bias() {
    let sae = sae(Architecture::Relu);

    let back = values(sae.decode_sparse(&sae.encode_sparse(x([[0.0, 0.0], [0.0, 0.0]]))));

    assert_eq!(back, [10.0, 20.0, 10.0, 20.0]);
}

#[test]
fn a_direction_is_a_decoder_row() {
    let sae = sae(Architecture::Relu);

    let direction = sae.direction(2).unwrap().into_data().try_to_vec::<f32>().unwrap();

    assert_eq!(direction, [-0.5, 0.25]);
    assert_eq!(sae.direction(3).unwrap_err(), SaeError::FeatureOutOfRange { feature: 3, d_sae: 3 });
}

#[test]
fn weights_of_another_shape_are_errors_that_name_the_weight() {
    let good = sae(Architecture::Relu);
    let config = good.config().clone();
    let device = nanoscope_device::for_tests();

    let transposed = SaeWeights { w_enc: good.weights().w_enc.transpose(), ..good.weights() };
    assert_eq!(
        Sae::new(config.clone(), transposed).unwrap_err().to_string(),
        "W_enc has shape [3, 2], expected [2, 3]"
    );
    let gated =
        GateWeights { w_gate: Tensor::zeros([2, 3], &device), b_gate: Tensor::zeros([3], &device) };
    let gated = SaeWeights { gate: Some(gated), ..good.weights() };
    assert_eq!(
        Sae::new(config, gated).unwrap_err().to_string(),
        "architecture relu has no gate weights"
    );
}
