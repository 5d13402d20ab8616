//! Matching pursuit, by hand.

use burn::tensor::Tensor;
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeError, SaeWeights};

use crate::{assert_decoded, assert_features, device, x};

/// Rows `[1, 0]`, `[0, 1]` and `[0.6, 0.8]`, and the transposed encoder.
fn tied(apply_b_dec: bool, architecture: Architecture) -> Sae {
    let w_dec = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], &device());
    with_rows(w_dec, apply_b_dec, architecture)
}

fn with_rows(w_dec: Tensor<2>, apply_b_dec: bool, architecture: Architecture) -> Sae {
    let [d_sae, d_in] = w_dec.dims();
    let config = SaeConfig::new(d_in, d_sae, architecture)
        .and_then(|config| config.with_apply_b_dec_to_input(apply_b_dec));
    let weights = SaeWeights::new(
        w_dec.clone().transpose(),
        Tensor::zeros([d_sae], &device()),
        w_dec,
        Tensor::from_floats([10.0, 20.0], &device()),
    );
    Sae::new(config.unwrap(), weights).unwrap()
}

fn pursuit(residual_threshold: f32, max_iterations: usize, stops: bool) -> Architecture {
    Architecture::MatchingPursuit {
        residual_threshold,
        max_iterations,
        stop_on_duplicate_support: stops,
    }
}

#[test]
fn the_largest_product_with_the_residual_is_taken_until_none_is_positive() {
    // [2, 3]: 3.6 of the third leaves [-0.16, 0.12], 0.12 of the second leaves [-0.16, 0]. [-1, -2] has
    // no positive product.
    let rows = [[2.0, 3.0], [-1.0, -2.0]];
    assert_features(&tied(false, pursuit(0.0, 9, true)), rows, [[0.0, 0.12, 3.6], [0.0, 0.0, 0.0]]);
    // The same around b_dec, and with one iteration.
    let sae = tied(true, pursuit(0.0, 1, true));
    let rows = [[12.0, 23.0], [9.0, 18.0]];
    assert_features(&sae, rows, [[0.0, 0.0, 3.6], [0.0, 0.0, 0.0]]);
    assert_decoded(&sae, rows, [[12.16, 22.88], [10.0, 20.0]]);
}

#[test]
fn a_row_ends_at_a_small_residual_a_repeated_feature_or_the_last_iteration() {
    let device = device();
    let halves = || Tensor::from_floats([[0.5, 0.0], [0.0, 0.5], [-0.5, -0.5]], &device);
    // [4, 0] takes 2 of the first, which leaves [3, 0], then 1.5, then 1.125.
    for (architecture, first) in [
        (pursuit(3.5, 9, false), 2.0),
        (pursuit(0.0, 9, true), 3.5),
        (pursuit(2.5, 9, true), 3.5),
        (pursuit(2.5, 9, false), 3.5),
        (pursuit(0.0, 3, false), 4.625),
    ] {
        let sae = with_rows(halves(), false, architecture);
        // The other row of the batch ends on its own.
        let features = sae.encode_sparse(x([[4.0, 0.0], [0.0, 0.0]])).unwrap();
        assert_eq!(features.row(0).collect::<Vec<_>>(), [(0, first)], "{architecture:?}");
        assert_eq!(features.row(1).count(), 0);
        let features = sae.encode_sparse(x([[0.0, 0.0], [4.0, 0.0]])).unwrap();
        assert_eq!(features.row(1).collect::<Vec<_>>(), [(0, first)], "{architecture:?}");
    }
}

#[test]
fn an_error_names_the_row_of_the_batch_even_if_other_rows_have_ended() {
    // The rows are so long that the residual doubles with each iteration and overflows.
    let long = Tensor::from_floats([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]], &device());
    let sae = with_rows(long, false, pursuit(0.0, 1000, false));

    let error = sae.encode_sparse(x([[0.0, 0.0], [4.0, 1.0]])).unwrap_err();

    assert!(matches!(error, SaeError::NotFinite { row: 1, .. }), "{error}");
}
