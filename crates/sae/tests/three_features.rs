//! An SAE of two numbers and three features, small enough to work by hand.

use burn::tensor::{DType, Tensor, TensorData};
use nanoscope_sae::{
    Architecture, GateWeights, MagnitudeWeights, Normalization, Sae, SaeConfig, SaeError,
    SaeWeights,
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

const TOP_2: Architecture = Architecture::TopK { k: 2, rescale_acts_by_decoder_norm: false };
const RESCALED_TOP_1: Architecture =
    Architecture::TopK { k: 1, rescale_acts_by_decoder_norm: true };

/// Every architecture, with sizes that fit.
const EVERY: [Architecture; 9] = [
    Architecture::Relu,
    Architecture::JumpRelu,
    TOP_2,
    RESCALED_TOP_1,
    Architecture::AbsTopK { k: 2 },
    Architecture::GroupMax { k: 1 },
    Architecture::Gated,
    Architecture::SignedTopK { k: 2 },
    Architecture::SignedGated,
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
    assert_close(&values(sae.encode(x(rows))), &expected);
    let sparse = sae.encode_sparse(x(rows));
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
    let sparse = sae.encode_sparse(x(rows));
    assert_close(&values(sae.decode_sparse(&sparse, x(rows))), &expected);
    assert_close(&values(sae.decode(sae.encode(x(rows)), x(rows))), &expected);
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
fn a_jump_is_closed_at_exactly_its_threshold() {
    // Pre-activations [1, 1, -2] and [1.5, 0, -2.5]: 1 is not above 1, nor 0 above 0.
    assert_features(
        &sae(Architecture::JumpRelu),
        [[1.0, 2.0], [1.5, 1.0]],
        [[0.0, 1.0, 0.0], [1.5, 0.0, 0.0]],
    );
}

#[test]
fn a_jump_lets_nothing_negative_through_however_low_its_threshold() {
    // Pre-activations [0.5, -1, -0.5]: the third is above its threshold of -1.
    assert_features(
        &sae(Architecture::JumpRelu),
        [[0.5, 0.0], [0.5, 0.0]],
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
    );
}

#[test]
fn top_k_drops_a_negative_entry_even_when_it_is_among_the_largest() {
    // Pre-activations [3, 4, -8] and [-1, -3, 3]: of the second, -1 is among the two largest.
    assert_features(&sae(TOP_2), [[3.0, 5.0], [-1.0, -2.0]], [[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]]);
}

#[test]
fn rescaled_top_k_selects_by_what_a_feature_writes() {
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
        &sae(Architecture::AbsTopK { k: 2 }),
        [[3.0, 5.0], [-1.0, -2.0]],
        [[0.0, 4.0, -8.0], [0.0, -3.0, 3.0]],
    );
}

#[test]
fn groupmax_keeps_the_largest_of_each_stretch_if_it_is_positive() {
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
    assert_close(&sae.encode_sparse(x(rows)).to_dense(), &expected);
    assert_close(&values(sae.encode(x(rows))), &expected);
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
    assert_eq!(sae.encode_sparse(x([[2.0, 3.0], [0.0, 0.0]])).nnz(), 1);
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
fn b_dec_is_taken_off_the_input_only_where_the_config_says_so() {
    let config = config(Architecture::Relu).with_apply_b_dec_to_input(true).unwrap();
    let sae = Sae::new(config, weights(Architecture::Relu)).unwrap();

    // x − b_dec is [3, 5] and [-1, -2].
    assert_features(&sae, [[13.0, 25.0], [9.0, 18.0]], [[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]]);
}

fn normalised(normalization: Normalization) -> Sae {
    let config = config(Architecture::Relu).with_normalization(normalization).unwrap();
    Sae::new(config, weights(Architecture::Relu)).unwrap()
}

#[test]
fn a_constant_scale_is_undone_by_the_decoder() {
    let sae = normalised(Normalization::ExpectedAverageOnlyIn { scale: 0.5 });

    assert_features(&sae, [[6.0, 10.0], [-2.0, -4.0]], [[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]]);
    // ([3, 8] + [10, 20]) / 0.5 and ([-1.5, 0.75] + [10, 20]) / 0.5
    assert_decoded(&sae, [[6.0, 10.0], [-2.0, -4.0]], [[26.0, 56.0], [17.0, 41.5]]);
    assert_close(&values(sae.direction(1).unwrap()), &[0.0, 4.0]);
    assert!(sae.output_scale(x([[6.0, 10.0], [1.0, 1.0]])).is_none());
}

#[test]
fn constant_norm_rescale_brings_each_row_to_the_norm_of_root_d_in() {
    let sae = normalised(Normalization::ConstantNormRescale);

    // ‖[3, 4]‖ = 5, so x̃ = [3, 4] · √2 / 5; a row of zeros stays one and decodes to zeros.
    let root = 2.0_f32.sqrt();
    let (f0, f1) = (0.6 * root, 0.8 * root - 1.0);
    assert_features(&sae, [[3.0, 4.0], [0.0, 0.0]], [[f0, f1, 0.0], [0.0, 0.0, 0.0]]);
    let scale = 5.0 / root;
    let expected = [[scale * (f0 + 10.0), scale * (2.0 * f1 + 20.0)], [0.0, 0.0]];
    assert_decoded(&sae, [[3.0, 4.0], [0.0, 0.0]], expected);
    let scales = sae.output_scale(x([[3.0, 4.0], [0.0, 0.0]])).unwrap();
    assert_close(&values(scales), &[scale, 0.0]);
}

#[test]
fn layer_norm_divides_by_the_unbiased_deviation_plus_epsilon() {
    let sae = normalised(Normalization::LayerNorm);

    // μ = 3, σ = √2 unbiased (1 biased), so x̃ = ±1 / (√2 + 1e-5). Rows of one value have σ = 0.
    let root = 2.0_f32.sqrt();
    let one = 1.0 / (root + 1e-5);
    assert_features(&sae, [[4.0, 2.0], [7.0, 7.0]], [[one, 0.0, 0.0], [0.0, 0.0, 0.0]]);
    let expected = [[root * (one + 10.0) + 3.0, root * 20.0 + 3.0], [7.0, 7.0]];
    assert_decoded(&sae, [[4.0, 2.0], [7.0, 7.0]], expected);
}

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

    let sparse = sae.encode_sparse(x(rows));
    let decoded = values(sae.decode_sparse(&sparse, x(rows)));

    // 3 + 40 + 0.5 + (10 − 3), and 300 + 0.5 + (1 − 4)
    assert_close(&decoded, &[50.5, 297.5]);
    assert_close(&values(sae.decode(sae.encode(x(rows)), x(rows))), &decoded);
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

#[test]
fn folding_the_decoders_norm_multiplies_features_by_it_and_keeps_what_is_decoded() {
    let rows = [[3.0, 5.0], [-1.0, -2.0]];
    let norms = [1.0, 2.0, 0.3125_f32.sqrt()];
    for architecture in
        [Architecture::Relu, Architecture::JumpRelu, Architecture::Gated, Architecture::SignedGated]
    {
        let sae = sae(architecture);

        let folded = sae.fold_w_dec_norm().unwrap();

        let before = sae.encode_sparse(x(rows)).to_dense();
        let expected: Vec<f32> =
            before.iter().zip(norms.iter().cycle()).map(|(f, n)| f * n).collect();
        assert!(expected.iter().any(|&f| f != 0.0), "{architecture:?}");
        assert_close(&folded.encode_sparse(x(rows)).to_dense(), &expected);
        let decoded = |sae: &Sae| values(sae.decode(sae.encode(x(rows)), x(rows)));
        assert_close(&decoded(&folded), &decoded(&sae));
        for feature in 0..3 {
            let norm = values(folded.direction(feature).unwrap().square().sum().sqrt());
            assert_close(&norm, &[1.0]);
        }
    }
}

#[test]
fn folding_the_decoders_norm_keeps_the_features_that_are_rescaled_by_it() {
    let rows = [[3.0, 3.0], [3.0, 2.0]];
    let sae = sae(RESCALED_TOP_1);

    let folded = sae.fold_w_dec_norm().unwrap();

    let plain = Architecture::TopK { k: 1, rescale_acts_by_decoder_norm: false };
    assert_eq!(folded.config().architecture(), plain);
    assert_features(&folded, rows, [[0.0, 4.0, 0.0], [3.0, 0.0, 0.0]]);
    assert_decoded(&folded, rows, [[10.0, 24.0], [13.0, 20.0]]);
}

#[test]
fn folding_the_decoders_norm_is_refused_where_other_features_would_win() {
    for architecture in [
        TOP_2,
        Architecture::AbsTopK { k: 2 },
        Architecture::GroupMax { k: 1 },
        Architecture::SignedTopK { k: 2 },
    ] {
        let name = architecture.name();
        assert_eq!(
            sae(architecture).fold_w_dec_norm().unwrap_err().to_string(),
            format!(
                "the decoder's norm cannot be folded into the weights of a {name} SAE: \
                 other features would be the largest"
            )
        );
    }
}

#[test]
fn a_feature_that_writes_nothing_survives_folding() {
    let silent = SaeWeights {
        w_dec: Tensor::from_floats([[0.0, 0.0], [0.0, 2.0], [-0.5, 0.25]], &device()),
        ..weights(Architecture::Relu)
    };
    let sae = Sae::new(config(Architecture::Relu), silent).unwrap().fold_w_dec_norm().unwrap();

    assert_eq!(values(sae.direction(0).unwrap()), [0.0, 0.0]);
    assert_eq!(sae.encode_sparse(x([[3.0, 5.0], [0.0, 0.0]])).get(0, 0), 3.0);
}

#[test]
fn folding_a_constant_scale_changes_neither_features_nor_what_is_decoded() {
    let rows = [[26.0, 50.0], [18.0, 36.0]];
    for architecture in EVERY {
        for apply in [false, true] {
            let config = config(architecture)
                .with_apply_b_dec_to_input(apply)
                .and_then(|config| {
                    config.with_normalization(Normalization::ExpectedAverageOnlyIn { scale: 0.5 })
                })
                .unwrap();
            let sae = Sae::new(config, weights(architecture)).unwrap();

            let folded = sae.fold_normalization().unwrap();

            assert_eq!(folded.config().normalization(), Normalization::None);
            assert_close(&values(folded.encode(x(rows))), &values(sae.encode(x(rows))));
            let decoded = |sae: &Sae| values(sae.decode(sae.encode(x(rows)), x(rows)));
            assert_close(&decoded(&folded), &decoded(&sae));
        }
    }
}

#[test]
fn folding_b_dec_changes_neither_features_nor_what_is_decoded() {
    let rows = [[13.0, 25.0], [9.0, 18.0]];
    for architecture in EVERY {
        let config = config(architecture).with_apply_b_dec_to_input(true).unwrap();
        let sae = Sae::new(config, weights(architecture)).unwrap();

        let folded = sae.fold_b_dec();

        assert!(!folded.config().apply_b_dec_to_input());
        assert_close(&values(folded.encode(x(rows))), &values(sae.encode(x(rows))));
        let decoded = |sae: &Sae| values(sae.decode(sae.encode(x(rows)), x(rows)));
        assert_close(&decoded(&folded), &decoded(&sae));
    }
}

#[test]
fn a_normalisation_by_each_rows_own_numbers_is_not_folded() {
    let error = normalised(Normalization::LayerNorm).fold_normalization().unwrap_err();

    assert_eq!(
        error.to_string(),
        "layer_norm cannot be folded into the weights of a relu SAE: \
         each activation is normalised by its own numbers"
    );
}

#[test]
fn matrices_of_16_bits_compute_as_if_they_were_made_float32_first() {
    // ndarray has no 16-bit numbers, and not every GPU does.
    let device = burn::tensor::Device::flex();
    for architecture in EVERY {
        let full = weights(architecture);
        let on = |x: Tensor<2>| x.to_device(&device);
        let of = |x: Tensor<1>| x.to_device(&device);
        // 0.1 is none of the numbers that 16 bits hold.
        let rounded = SaeWeights {
            threshold: full.threshold.map(of),
            magnitude: full.magnitude.map(|magnitude| MagnitudeWeights {
                r_mag: of(magnitude.r_mag),
                b_mag: of(magnitude.b_mag),
            }),
            gate: full.gate.map(|gate| GateWeights {
                w_gate: on(gate.w_gate).cast(DType::BF16),
                b_gate: of(gate.b_gate),
            }),
            ..SaeWeights::new(
                (on(full.w_enc) * 1.1).cast(DType::BF16),
                of(full.b_enc),
                (on(full.w_dec) * 1.1).cast(DType::BF16),
                of(full.b_dec),
            )
        };
        let widened = SaeWeights {
            w_enc: rounded.w_enc.clone().cast(DType::F32),
            w_dec: rounded.w_dec.clone().cast(DType::F32),
            gate: rounded
                .gate
                .clone()
                .map(|gate| GateWeights { w_gate: gate.w_gate.cast(DType::F32), ..gate }),
            ..rounded.clone()
        };
        let rows = || Tensor::<2>::from_floats([[3.0, 5.0], [-1.0, -2.0]], &device);
        let half = Sae::new(config(architecture), rounded).unwrap();
        let whole = Sae::new(config(architecture), widened).unwrap();

        assert_eq!(values(half.encode(rows())), values(whole.encode(rows())));
        let decoded = |sae: &Sae| values(sae.decode(sae.encode(rows()), rows()));
        assert_close(&decoded(&half), &decoded(&whole));
        let sparse = |sae: &Sae| values(sae.decode_sparse(&sae.encode_sparse(rows()), rows()));
        assert_close(&sparse(&half), &sparse(&whole));
    }
}

#[test]
fn weights_of_another_shape_are_errors_that_name_the_weight() {
    let good = sae(Architecture::Relu);
    let config = good.config().clone();
    let device = device();

    let transposed = SaeWeights { w_enc: good.weights().w_enc.transpose(), ..good.weights() };
    assert_eq!(
        Sae::new(config.clone(), transposed).unwrap_err().to_string(),
        "W_enc has shape [3, 2], expected [2, 3]"
    );
    let skipping = SaeWeights { w_skip: Some(Tensor::zeros([2, 3], &device)), ..good.weights() };
    assert_eq!(
        Sae::new(config.clone().with_skip(), skipping).unwrap_err().to_string(),
        "W_skip has shape [2, 3], expected [2, 2]"
    );
    let gated =
        GateWeights { w_gate: Tensor::zeros([2, 3], &device), b_gate: Tensor::zeros([3], &device) };
    let gated = SaeWeights { gate: Some(gated), ..good.weights() };
    assert_eq!(Sae::new(config, gated).unwrap_err().to_string(), "a relu SAE has no gate weights");
    let jump = Sae::new(self::config(Architecture::JumpRelu), good.weights());
    assert_eq!(jump.unwrap_err().to_string(), "a jumprelu SAE needs threshold");
}
