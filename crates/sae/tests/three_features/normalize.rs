//! Normalisations, and their inverses when decoding.

use nanoscope_sae::{Architecture, Normalization, Sae};

use crate::{
    assert_close, assert_decoded, assert_features, config, normalised, values, weights, x,
};

#[test]
fn b_dec_is_subtracted_from_the_input_only_if_the_config_says_so() {
    let config = config(Architecture::Relu).with_apply_b_dec_to_input(true).unwrap();
    let sae = Sae::new(config, weights(Architecture::Relu)).unwrap();

    // x − b_dec is [3, 5] and [-1, -2].
    assert_features(&sae, [[13.0, 25.0], [9.0, 18.0]], [[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]]);
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

    // ‖[3, 4]‖ = 5, so x̃ = [3, 4] · √2 / 5; a row of zeros stays zero and decodes to zeros.
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
