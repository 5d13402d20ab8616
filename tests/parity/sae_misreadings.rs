//! Mistakes that readers of SAE files have made. Each case passes, and would fail with the mistake.

use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::{CheckpointError, Order, SaeFileError, TensorFile, load_sae, load_saes};
use nanoscope_sae::{Architecture, Normalization, Sae, SaeConfig, SaeError, SaeWeights};

use crate::golden::{Arrays, values};
use crate::sae_formats::{Case, FEATURES_ATOL, ROWS, case, cases, check, load, root};

#[test]
fn matching_pursuit_is_more_than_one_product_with_the_encoder() {
    for name in ["matching_pursuit", "matching_pursuit_small", "matching_pursuit_repeats"] {
        check_against(&case(&format!("saelens/{name}")), |config, weights| {
            let relu = SaeConfig::new(config.d_in(), config.d_sae(), Architecture::Relu)
                .and_then(|relu| relu.with_normalization(config.normalization()))
                .and_then(|relu| relu.with_apply_b_dec_to_input(config.apply_b_dec_to_input()));
            with_config(relu, weights)
        });
    }
}

#[test]
fn abs_top_k_selects_by_the_decoders_norm_if_it_was_trained_so() {
    for name in ["checkpoint_abstopk", "abstopk_default"] {
        check_against(&case(&format!("saelens/{name}")), |config, weights| {
            let k = config.architecture().k().unwrap();
            let plain = Architecture::AbsTopK { k, rescale_acts_by_decoder_norm: false };
            let plain = SaeConfig::new(config.d_in(), config.d_sae(), plain)
                .and_then(|plain| plain.with_apply_b_dec_to_input(config.apply_b_dec_to_input()));
            with_config(plain, weights)
        });
    }
}

/// Checks `case`, and that the SAE built by `mistaken` computes something else.
#[track_caller]
fn check_against(case: &Case, mistaken: impl FnOnce(SaeConfig, SaeWeights) -> Sae) {
    check(case);
    let sae = load(case).sae;
    let mistaken = mistaken(sae.config().clone(), sae.weights());
    let expected = Arrays::read(&root().join(&case.name).join("expected.safetensors"));
    let x = expected.floats("x").values.clone();
    let x = TensorData::new(x, [ROWS, sae.config().d_in()]);
    let x = Tensor::<2>::from_data(x, &nanoscope_testing::test_device());
    let found = values(mistaken.encode(x).unwrap());
    let off = found.iter().zip(&expected.floats("features").values).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f32::max);
    assert!(off > 100.0 * FEATURES_ATOL, "{}: the mistake would not show ({off})", case.name);
}

fn with_config(config: Result<SaeConfig, SaeError>, weights: SaeWeights) -> Sae {
    Sae::new(config.unwrap(), weights).unwrap()
}

/// An SAE whose encoder was read in the other memory order.
fn with_w_enc_misread(config: SaeConfig, weights: SaeWeights) -> Sae {
    let [d_in, d_sae] = weights.w_enc.dims();
    let w_enc = weights.w_enc.clone().transpose().reshape([d_in, d_sae]);
    Sae::new(config, SaeWeights { w_enc, ..weights }).unwrap()
}

#[test]
fn before_saelens_6_b_dec_is_subtracted_where_the_key_is_missing() {
    let case = case("saelens/flat_standard");
    let cfg = std::fs::read_to_string(root().join(&case.path).join("cfg.json")).unwrap();

    assert!(!cfg.contains("apply_b_dec_to_input"));
    check_against(&case, |config, weights| {
        with_config(config.with_apply_b_dec_to_input(false), weights)
    });
}

#[test]
fn normalize_activations_is_more_than_read() {
    for name in ["standard_layer_norm", "standard_constant_norm", "flat_layer_norm"] {
        check_against(&case(&format!("saelens/{name}")), |config, weights| {
            with_config(config.with_normalization(Normalization::None), weights)
        });
    }
}

#[test]
fn sparsify_has_a_row_of_w_dec_per_feature_and_one_of_its_encoder_too() {
    let case = case("sparsify/topk");
    let file = TensorFile::open(&root().join(&case.path).join("sae.safetensors")).unwrap();
    let stored = |name: &str, order| file.read(name, &[48, 16], order).unwrap();

    let weights = load(&case).sae.weights();

    let w_dec: Vec<f32> = stored("W_dec", Order::AsStored).iter::<f32>().collect();
    assert_eq!(values(weights.w_dec), w_dec);
    let w_enc: Vec<f32> = stored("encoder.weight", Order::AsStored).iter::<f32>().collect();
    assert_eq!(values(weights.w_enc.transpose()), w_enc);
    check(&case);
}

#[test]
fn sparsify_subtracts_b_dec_of_autoencoders_whatever_normalize_decoder_says_and_of_no_transcoder() {
    for (name, subtracts) in [("topk", true), ("unnormalised", true), ("transcode", false)] {
        check_against(&case(&format!("sparsify/{name}")), |config, weights| {
            assert_eq!(config.apply_b_dec_to_input(), subtracts, "{name}");
            with_config(config.with_apply_b_dec_to_input(!subtracts), weights)
        });
    }
}

#[test]
fn a_column_major_matrix_in_a_pt_file_is_read_by_its_strides() {
    for case in cases("strides") {
        // The file has the encoder with the numbers of one feature far apart.
        check_against(&case, |config, weights| {
            let [d_in, d_sae] = weights.w_enc.dims();
            let w_enc = weights.w_enc.clone().reshape([d_sae, d_in]).transpose();
            Sae::new(config, SaeWeights { w_enc, ..weights }).unwrap()
        });
        assert_eq!(load(&case).hooks.hook, case.hook, "{}", case.name);
    }
}

#[test]
fn gemma_scope_2_writes_all_names_in_lower_case() {
    for case in cases("gemma-scope-2") {
        let file = TensorFile::open(&root().join(&case.path).join("params.safetensors")).unwrap();

        assert!(file.tensors().all(|(name, _)| name == name.to_lowercase()), "{}", case.name);

        assert_eq!(load(&case).format, "Gemma Scope 2", "{}", case.name);
    }
}

#[test]
fn qwen_scope_has_saelens_names_for_transposed_matrices() {
    let case = case("qwen-scope/Qwen3-8B-Base");
    let file = TensorFile::open(&root().join(&case.path)).unwrap();

    assert_eq!(file.info("W_enc").unwrap().shape, [48, 16]);
    assert_eq!(file.info("W_dec").unwrap().shape, [16, 48]);
    check_against(&case, with_w_enc_misread);
}

#[test]
fn an_embedding_sae_of_gemma_scope_reads_the_embedding_before_it_is_scaled() {
    check_against(&case("gemma-scope/embedding"), |config, weights| {
        let w_enc = weights.w_enc.clone() * 4.0; // √16
        Sae::new(config, SaeWeights { w_enc, ..weights }).unwrap()
    });
}

#[test]
fn a_dictionary_that_load_dictionary_rescales_is_rescaled() {
    let case = case("dictionary-learning/auto_encoder_unnormalised");
    let file = TensorFile::open(&root().join(&case.path).join("ae.pt")).unwrap();
    let raw = file.read("encoder.weight", &[16, 48], Order::Transposed).unwrap();

    check_against(&case, |config, weights| {
        let w_enc = Tensor::from_data(raw, &weights.w_enc.device());
        Sae::new(config, SaeWeights { w_enc, ..weights }).unwrap()
    });
}

#[test]
fn a_folder_of_several_saes_has_each_of_them() {
    let found = load_saes([root().join("circuit-tracer/relu")], &nanoscope_testing::test_device());
    // Both layers are found, whether or not the hook point is one of ours.
    match found {
        Ok(saes) => assert_eq!(saes.len(), 2),
        Err(error) => {
            assert!(
                matches!(error, CheckpointError::SaeFile(SaeFileError::Hook { .. })),
                "{error}"
            );
        }
    }
    let error = load_sae(&root().join("circuit-tracer/relu"), &nanoscope_testing::test_device());
    assert!(matches!(error, Err(CheckpointError::SaeFile(SaeFileError::SeveralSaes { .. }))));
}
