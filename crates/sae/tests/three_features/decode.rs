//! Decoding, and the directions of features.

use burn::tensor::Tensor;
use nanoscope_sae::{Architecture, Sae, SaeError, SaeWeights};

use crate::{assert_close, assert_decoded, config, device, sae, values, weights, x};

#[test]
fn a_transcoder_writes_its_own_width_and_adds_its_skip_connection() {
    let device = device();
    let config = config(Architecture::Relu).with_d_out(1).unwrap().with_skip();
    let weights = SaeWeights {
        w_dec: Tensor::from_floats([[1.0], [10.0], [100.0]], &device),
        b_dec: Tensor::from_floats([0.5], &device),
        w_skip: Some(Tensor::from_floats([[-1.0], [2.0]], &device)),
        ..weights(Architecture::Relu)
    };
    let sae = Sae::new(config, weights).unwrap();
    let rows = [[3.0, 5.0], [-1.0, -2.0]];

    let sparse = sae.encode_sparse(x(rows)).unwrap();
    let decoded = values(sae.decode_sparse(&sparse, x(rows)));

    // 3 + 40 + 0.5 + (10 − 3), and 300 + 0.5 + (1 − 4)
    assert_close(&decoded, &[50.5, 297.5]);
    assert_close(&values(sae.decode(sae.encode(x(rows)).unwrap(), x(rows))), &decoded);
}

#[test]
fn decoding_adds_the_active_rows_and_the_bias() {
    // 3·[1, 0] + 4·[0, 2] + [10, 20], and 3·[-0.5, 0.25] + [10, 20]
    assert_decoded(
        &sae(Architecture::Relu),
        [[3.0, 5.0], [-1.0, -2.0]],
        [[13.0, 28.0], [8.5, 20.75]],
    );
}

#[test]
fn rows_without_active_features_decode_to_the_bias() {
    assert_decoded(
        &sae(Architecture::Relu),
        [[0.0, 0.0], [0.0, 0.0]],
        [[10.0, 20.0], [10.0, 20.0]],
    );
}

#[test]
fn a_direction_is_a_decoder_row() {
    let sae = sae(Architecture::Relu);

    let direction = values(sae.direction(2).unwrap());

    assert_eq!(direction, [-0.5, 0.25]);
    assert_eq!(sae.direction(3).unwrap_err(), SaeError::FeatureOutOfRange { feature: 3, d_sae: 3 });
}
