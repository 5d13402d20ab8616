//! Each architecture computes the features of its definition.

use burn::tensor::Tensor;
use nanoscope_sae::{
    Architecture, GateWeights, Normalization, Sae, SaeConfig, SaeError, SaeWeights,
};

use crate::{
    ABS_TOP_2, EVERY, PURSUIT, RESCALED_TOP_1, TOP_2, assert_close, assert_decoded,
    assert_features, config, device, normalised, sae, values, weights, x,
};

#[test]
fn relu_drops_negative_values() {
    assert_features(
        &sae(Architecture::Relu),
        [[3.0, 5.0], [-1.0, -2.0]],
        [[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]],
    );
}

#[test]
fn a_jump_is_closed_at_exactly_its_threshold() {
    // Pre-activations [1, 1, -2] and [1.5, 0, -2.5]: 1 is not above 1, nor 0 above 0.
    assert_features(
        &sae(Architecture::JumpRelu),
        [[1.0, 2.0], [1.5, 1.0]],
        [[0.0, 1.0, 0.0], [1.5, 0.0, 0.0]],
    );
}

#[test]
fn a_jump_is_closed_to_negative_values_however_low_its_threshold() {
    // Pre-activations [0.5, -1, -0.5]: the third is above its threshold of -1.
    assert_features(
        &sae(Architecture::JumpRelu),
        [[0.5, 0.0], [0.5, 0.0]],
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
    );
}

#[test]
fn batch_top_k_at_inference_is_one_threshold_for_all_features() {
    let one = SaeWeights {
        threshold: Some(Tensor::from_floats([3.5, 3.5, 3.5], &device())),
        ..weights(Architecture::JumpRelu)
    };
    let sae = Sae::new(config(Architecture::JumpRelu), one).unwrap();

    // Pre-activations [3, 4, -8] and [-1, -3, 3].
    assert_features(&sae, [[3.0, 5.0], [-1.0, -2.0]], [[0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]);
}

#[test]
fn top_k_drops_a_negative_entry_even_when_it_is_among_the_largest() {
    // Pre-activations [3, 4, -8] and [-1, -3, 3]: of the second, -1 is among the two largest.
    assert_features(&sae(TOP_2), [[3.0, 5.0], [-1.0, -2.0]], [[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]]);
}

#[test]
fn rescaled_top_k_selects_by_the_norm_of_a_features_contribution() {
    let sae = sae(RESCALED_TOP_1);

    // Pre-activations [3, 2, -6] and [3, 1, -5], times the decoder's norms 1, 2 and √0.3125.
    assert_features(&sae, [[3.0, 3.0], [3.0, 2.0]], [[0.0, 4.0, 0.0], [3.0, 0.0, 0.0]]);
    // 4 / 2 · [0, 2] and 3 · [1, 0], plus [10, 20]
    assert_decoded(&sae, [[3.0, 3.0], [3.0, 2.0]], [[10.0, 24.0], [13.0, 20.0]]);
    assert_close(&values(sae.direction(1).unwrap()), &[0.0, 1.0]);
}

#[test]
fn abs_top_k_selects_by_magnitude_and_keeps_the_sign() {
    // Pre-activations [3, 4, -8] and [-1, -3, 3].
    assert_features(
        &sae(ABS_TOP_2),
        [[3.0, 5.0], [-1.0, -2.0]],
        [[0.0, 4.0, -8.0], [0.0, -3.0, 3.0]],
    );
}

#[test]
fn rescaled_abs_top_k_selects_by_the_magnitude_of_a_features_contribution() {
    let architecture = Architecture::AbsTopK { k: 1, rescale_acts_by_decoder_norm: true };
    let sae = sae(architecture);

    // Pre-activations [3, 4, -8] and [1, 1, -3], times the decoder's norms 1, 2 and √0.3125.
    assert_features(&sae, [[3.0, 5.0], [1.0, 2.0]], [[0.0, 8.0, 0.0], [0.0, 2.0, 0.0]]);
    // 8 / 2 · [0, 2] and 2 / 2 · [0, 2], plus [10, 20]
    assert_decoded(&sae, [[3.0, 5.0], [1.0, 2.0]], [[10.0, 28.0], [10.0, 22.0]]);
}

#[test]
fn groupmax_keeps_the_largest_of_each_group_if_it_is_positive() {
    let device = device();
    // Pre-activations are [x0, x1, -x0, -x1], in the groups (0, 1) and (2, 3).
    let config = SaeConfig::new(2, 4, Architecture::GroupMax { k: 2 }).unwrap();
    let weights = SaeWeights::new(
        Tensor::from_floats([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0]], &device),
        Tensor::zeros([4], &device),
        Tensor::ones([4, 2], &device),
        Tensor::zeros([2], &device),
    );
    let sae = Sae::new(config, weights).unwrap();
    let rows = [[3.0, 5.0], [-1.0, -2.0]];

    let expected = [0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
    assert_close(&sae.encode_sparse(x(rows)).unwrap().to_dense(), &expected);
    assert_close(&values(sae.encode(x(rows)).unwrap()), &expected);
}

#[test]
fn a_gate_opens_above_zero_and_its_magnitude_is_rectified() {
    // Gates [3, 4, -8] and [1, 0, -2]; magnitudes [7, 2.5, ..] and [3, 0.5, ..].
    assert_features(
        &sae(Architecture::Gated),
        [[3.0, 5.0], [1.0, 1.0]],
        [[7.0, 2.5, 0.0], [3.0, 0.0, 0.0]],
    );
    // Gates [-1, -3, 3] and [-1, -1, 1]; the third magnitudes are 3 - 1 and 1 - 1.
    assert_features(
        &sae(Architecture::Gated),
        [[-1.0, -2.0], [-1.0, 0.0]],
        [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]],
    );
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
    assert_eq!(sae.encode_sparse(x([[2.0, 3.0], [0.0, 0.0]])).unwrap().nnz(), 1);
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

/// Every architecture and normalisation that reads activations.
fn every_sae() -> Vec<Sae> {
    let normalisations = [
        Normalization::None,
        Normalization::ExpectedAverageOnlyIn { scale: 0.5 },
        Normalization::ConstantNormRescale,
        Normalization::LayerNorm,
    ];
    let each = normalisations.into_iter().flat_map(|normalization| {
        EVERY.map(|architecture| {
            let config = config(architecture).with_normalization(normalization).unwrap();
            Sae::new(config, weights(architecture)).unwrap()
        })
    });
    each.collect()
}

#[test]
fn a_number_that_is_not_finite_is_an_error_and_not_a_row_in_which_nothing_fires() {
    for sae in every_sae() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for rows in [[[3.0, 5.0], [bad, 1.0]], [[3.0, 5.0], [1.0, bad]]] {
                for error in [
                    sae.encode_sparse(x(rows)).map(|_| ()).unwrap_err(),
                    sae.encode(x(rows)).map(|_| ()).unwrap_err(),
                ] {
                    assert!(matches!(error, SaeError::NotFinite { row: 1, .. }), "{bad}: {error}");
                }
            }
        }
    }
}

#[test]
fn numbers_too_large_for_float32_are_an_error_whatever_normalises_them() {
    // Their squares overflow; 3e38 · 2 does, too.
    let rows = [[3.0, 5.0], [3e38, 3e38]];
    for normalization in [Normalization::ConstantNormRescale, Normalization::LayerNorm] {
        let error = normalised(normalization).encode_sparse(x([[3.0, 5.0], [3e38, 1.0]]));
        assert!(matches!(error, Err(SaeError::NotFinite { row: 1, .. })), "{normalization:?}");
    }
    let error = sae(Architecture::Relu).encode_sparse(x(rows)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the pre-activation of feature 2 in row 1 is -inf: the activations or the weights are not \
         finite, or too large for float32"
    );
}

#[test]
fn weights_that_are_not_finite_are_an_error_when_they_are_used() {
    // Matching pursuit has no encoder bias.
    for architecture in EVERY.into_iter().filter(|&architecture| architecture != PURSUIT) {
        let weights = weights(architecture);
        let b_enc = Tensor::from_floats([0.0, f32::NAN, 0.0], &device());
        let gate = weights.gate.clone().map(|gate| GateWeights { b_gate: b_enc.clone(), ..gate });
        let sae = Sae::new(config(architecture), SaeWeights { b_enc, gate, ..weights }).unwrap();

        let error = sae.encode_sparse(x([[3.0, 5.0], [1.0, 2.0]])).unwrap_err();

        assert!(
            matches!(error, SaeError::NotFinite { row: 0, feature: 1, .. }),
            "{architecture:?}: {error}"
        );
    }
}

#[test]
fn the_pre_activation_of_an_active_feature_is_its_value() {
    let rows = [[3.0, 5.0], [-1.0, -2.0]];
    let normalised = [
        Normalization::ExpectedAverageOnlyIn { scale: 0.5 },
        Normalization::ConstantNormRescale,
        Normalization::LayerNorm,
    ];
    // The value of a feature that matching pursuit takes is a sum over iterations.
    let every = EVERY.into_iter().filter(|&architecture| architecture != PURSUIT).map(sae);
    for sae in every.chain(normalised.map(crate::normalised)) {
        let pre = values(sae.pre_activations_of(x(rows), &[2, 0, 1]).unwrap());

        let features = sae.encode_sparse(x(rows)).unwrap();
        assert!(features.nnz() > 0, "{:?}", sae.config());
        for row in 0..2 {
            for (feature, value) in features.row(row) {
                let pre = pre[3 * row + [1, 2, 0][feature as usize]];
                assert!((pre - value).abs() < 1e-5, "{:?}: {pre}, {value}", sae.config());
            }
        }
    }
    let pursuit = values(sae(PURSUIT).pre_activations_of(x(rows), &[0, 2]).unwrap());
    assert_close(&pursuit, &[3.0, -8.0, -1.0, 3.0]);
    let error = sae(TOP_2).pre_activations_of(x(rows), &[3]).unwrap_err();
    assert_eq!(error, SaeError::FeatureOutOfRange { feature: 3, d_sae: 3 });
}
