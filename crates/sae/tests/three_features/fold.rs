//! Folding changes weights and configuration, but not the reconstruction.

use burn::tensor::Tensor;
use nanoscope_sae::{Architecture, Normalization, Sae, SaeWeights};

use crate::{
    ABS_TOP_2, EVERY, PURSUIT, RESCALED_TOP_1, TOP_2, assert_close, assert_decoded,
    assert_features, config, device, normalised, sae, values, weights, x,
};

#[test]
fn folding_the_decoders_norm_multiplies_features_by_it_and_keeps_the_reconstruction() {
    let rows = [[3.0, 5.0], [-1.0, -2.0]];
    let norms = [1.0, 2.0, 0.3125_f32.sqrt()];
    for architecture in
        [Architecture::Relu, Architecture::JumpRelu, Architecture::Gated, Architecture::SignedGated]
    {
        let sae = sae(architecture);

        let folded = sae.fold_w_dec_norm().unwrap();

        let before = sae.encode_sparse(x(rows)).unwrap().to_dense();
        let expected: Vec<f32> =
            before.iter().zip(norms.iter().cycle()).map(|(f, n)| f * n).collect();
        assert!(expected.iter().any(|&f| f != 0.0), "{architecture:?}");
        assert_close(&folded.encode_sparse(x(rows)).unwrap().to_dense(), &expected);
        let decoded = |sae: &Sae| values(sae.decode(sae.encode(x(rows)).unwrap(), x(rows)));
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

    let by_magnitude =
        |rescale| Architecture::AbsTopK { k: 2, rescale_acts_by_decoder_norm: rescale };
    let sae = crate::sae(by_magnitude(true));
    let folded = sae.fold_w_dec_norm().unwrap();
    assert_eq!(folded.config().architecture(), by_magnitude(false));
    let features = |sae: &Sae| values(sae.encode(x(rows)).unwrap());
    assert_close(&features(&folded), &features(&sae));
}

#[test]
fn folding_the_decoders_norm_is_rejected_if_other_features_would_be_selected() {
    for architecture in [
        TOP_2,
        ABS_TOP_2,
        Architecture::GroupMax { k: 1 },
        Architecture::SignedTopK { k: 2 },
        PURSUIT,
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
fn a_feature_with_a_decoder_row_of_zeros_survives_folding() {
    let silent = SaeWeights {
        w_dec: Tensor::from_floats([[0.0, 0.0], [0.0, 2.0], [-0.5, 0.25]], &device()),
        ..weights(Architecture::Relu)
    };
    let sae = Sae::new(config(Architecture::Relu), silent).unwrap().fold_w_dec_norm().unwrap();

    assert_eq!(values(sae.direction(0).unwrap()), [0.0, 0.0]);
    assert_eq!(sae.encode_sparse(x([[3.0, 5.0], [0.0, 0.0]])).unwrap().get(0, 0), 3.0);
}

#[test]
fn folding_a_constant_scale_changes_neither_features_nor_the_reconstruction() {
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
            assert_close(
                &values(folded.encode(x(rows)).unwrap()),
                &values(sae.encode(x(rows)).unwrap()),
            );
            let decoded = |sae: &Sae| values(sae.decode(sae.encode(x(rows)).unwrap(), x(rows)));
            assert_close(&decoded(&folded), &decoded(&sae));
        }
    }
}

#[test]
fn folding_b_dec_changes_neither_features_nor_the_reconstruction() {
    let rows = [[13.0, 25.0], [9.0, 18.0]];
    for architecture in EVERY.into_iter().filter(|&architecture| architecture != PURSUIT) {
        let config = config(architecture).with_apply_b_dec_to_input(true).unwrap();
        let sae = Sae::new(config, weights(architecture)).unwrap();

        let folded = sae.fold_b_dec().unwrap();

        assert!(!folded.config().apply_b_dec_to_input());
        assert_close(
            &values(folded.encode(x(rows)).unwrap()),
            &values(sae.encode(x(rows)).unwrap()),
        );
        let decoded = |sae: &Sae| values(sae.decode(sae.encode(x(rows)).unwrap(), x(rows)));
        assert_close(&decoded(&folded), &decoded(&sae));
    }
}

#[test]
fn b_dec_is_not_folded_where_the_encoder_has_no_bias() {
    let config = config(PURSUIT).with_apply_b_dec_to_input(true).unwrap();
    let sae = Sae::new(config, weights(PURSUIT)).unwrap();

    assert_eq!(
        sae.fold_b_dec().unwrap_err().to_string(),
        "b_dec cannot be folded into the weights of a matching-pursuit SAE: its encoder has no bias"
    );
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
