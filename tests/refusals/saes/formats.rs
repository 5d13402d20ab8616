//! SAEs of other tools: tensors that are missing, unknown, misshapen or not finite.

use nanoscope_checkpoint::{CheckpointError, SaeFileError};
use nanoscope_sae::SaeError;
use nanoscope_testing::pickle::Py;
use serde_json::json;

use super::saved::{Saved, top_k_state};
use crate::refused;

#[test]
fn what_the_cases_are_made_of_is_sound() {
    let openai = Saved::openai("TopK".into(), top_k_state(Py::Int(6), "Identity"));
    for saved in [
        Saved::saelens(),
        Saved::gemma_scope(),
        Saved::gemma_scope_2("transcoder", "layer_12_width_16k_l0_small_affine"),
        Saved::dictionary("topk"),
        Saved::sparsify(),
        Saved::llama_scope(),
        Saved::r1_distill(),
        Saved::qwen_scope(),
        Saved::goodfire(),
        Saved::circuit_tracer(""),
        openai,
    ] {
        let before = saved.load().unwrap();

        let after = saved.with(|_| {}).load().unwrap();

        assert_eq!(before.sae.config(), after.sae.config(), "{}", before.format);
        assert_eq!(before.hooks, after.hooks, "{}", before.format);
    }
}

#[test]
fn a_tied_decoder_of_openai_is_the_encoder() {
    let tied = Saved::openai("TopK".into(), top_k_state(Py::Int(6), "ReLU")).with(|tensors| {
        tensors.remove("decoder.weight").unwrap();
        let encoder = tensors["encoder.weight"].clone();
        tensors.insert("decoder.linear.weight".to_owned(), encoder);
    });

    let weights = tied.load().unwrap().sae.weights();

    let all = |x: burn::tensor::Tensor<2>| x.into_data().iter::<f32>().collect::<Vec<_>>();
    assert_eq!(all(weights.w_dec), all(weights.w_enc.transpose()));
}

#[test]
fn a_transcoder_of_llama_scope_has_a_scale_for_what_it_reads_and_one_for_what_it_writes() {
    let sae = Saved::llama_scope();
    let before = sae.load().unwrap().sae.fold_normalization().unwrap().weights();
    let transcoder = sae
        .with_config("/hook_point_out", json!("blocks.15.hook_mlp_out"))
        .with_config("/dataset_average_activation_norm/out", json!(11.0));

    let after = transcoder.load().unwrap();

    // Twice the norm is half the scale, and the output is divided by it.
    let sum = |x: burn::tensor::Tensor<2>| x.sum().into_scalar::<f32>();
    let weights = after.sae.fold_normalization().unwrap().weights();
    assert!((sum(weights.w_enc) - sum(before.w_enc)).abs() < 1e-4);
    assert!((sum(weights.w_dec) - 2.0 * sum(before.w_dec)).abs() < 1e-4);
    assert_eq!(after.hooks.hook_out.as_deref(), Some("blocks.15.hook_mlp_out"));
}

#[test]
fn tensors_that_are_not_the_saes_are_refused_in_every_format() {
    let affine = || Saved::gemma_scope_2("transcoder", "layer_12_width_16k_l0_small_affine");
    for (case, saved, says) in [
        ("SAELens", Saved::saelens().without("b_enc"), "b_enc"),
        ("Gemma Scope", Saved::gemma_scope().without("threshold"), "threshold"),
        ("Gemma Scope 2", affine().without("affine_skip_connection"), "affine_skip_connection"),
        ("TopK", Saved::dictionary("topk").without("b_dec"), "b_dec"),
        (
            "TopK without k in both files",
            Saved::dictionary("topk").without("k").with_config("/trainer/k", json!(null)),
            "`k`",
        ),
        ("matryoshka", Saved::dictionary("matryoshka").without("threshold"), "threshold"),
        ("sparsify, as before it had W_dec", Saved::sparsify().without("W_dec"), "W_dec"),
        ("Llama Scope", Saved::llama_scope().without("decoder.bias"), "decoder.bias"),
        ("thresholds", Saved::r1_distill().without("log_jumprelu_threshold"), "log_jumprelu"),
        (
            "mean norm",
            Saved::r1_distill()
                .without("dataset_average_activation_norm.blocks.15.hook_resid_post"),
            "dataset_average_activation_norm.blocks.15.hook_resid_post",
        ),
        ("Qwen Scope", Saved::qwen_scope().without("W_dec"), "W_dec"),
        ("circuit-tracer", Saved::circuit_tracer("").without("b_dec"), "b_dec"),
    ] {
        refused!(
            format!("{case}: a tensor too few"),
            saved.load(),
            CheckpointError::MissingTensor { .. },
            [saved.weights.file_name().unwrap().to_str().unwrap(), says]
        );
    }
    let plain = || Saved::gemma_scope_2("resid_post", "layer_12_width_16k_l0_small");
    for (case, saved, says) in [
        ("SAELens", Saved::saelens().with_tensor("threshold", &[48]), "`threshold`"),
        ("Gemma Scope", Saved::gemma_scope().with_tensor("scaling_factor", &[48]), "scaling"),
        ("Gemma Scope 2", plain().with_tensor("affine_skip_connection", &[16, 16]), "affine"),
        ("dictionary", Saved::dictionary("gated").with_tensor("encoder.bias", &[48]), "encoder"),
        ("sparsify", Saved::sparsify().with_tensor("W_skip", &[16, 16]), "`W_skip`"),
        ("Llama Scope", Saved::llama_scope().with_tensor("encoder_glu.bias", &[48]), "encoder_glu"),
        ("Qwen Scope", Saved::qwen_scope().with_tensor("threshold", &[48]), "`threshold`"),
        ("Goodfire", Saved::goodfire().with_tensor("norm", &[1]), "`norm`"),
        ("logs", Saved::circuit_tracer("").with_tensor("log_thresholds", &[48]), "log_thresholds"),
    ] {
        refused!(
            format!("{case}: a tensor too many"),
            saved.load(),
            CheckpointError::SaeFile(SaeFileError::UnexpectedSaeTensor { .. }),
            [saved.weights.file_name().unwrap().to_str().unwrap(), says, "is not a weight"]
        );
    }
    for (case, saved, says) in [
        ("SAELens", Saved::saelens().transposed("W_enc"), ["W_enc", "[48, 16]", "[16, 48]"]),
        ("npz", Saved::gemma_scope().transposed("W_dec"), ["W_dec", "[16, 48]", "[48, 16]"]),
        ("lower case", affine().with_tensor("b_dec", &[48]), ["b_dec", "[48]", "[16]"]),
        (
            "pt",
            Saved::dictionary("jumprelu").transposed("W_dec"),
            ["W_dec", "[16, 48]", "[48, 16]"],
        ),
        ("one k", Saved::dictionary("topk").with_tensor("k", &[2]), ["`k`", "[2]", "[]"]),
        ("sparsify", Saved::sparsify().transposed("W_dec"), ["W_dec", "[16, 48]", "[48, 16]"]),
        ("Qwen's as SAELens's", Saved::qwen_scope().transposed("W_dec"), ["W_dec", "[48", "[16"]),
        ("circuit-tracer", Saved::circuit_tracer("").transposed("W_dec"), ["W_dec", "[16", "[48"]),
    ] {
        refused!(
            format!("{case}: another shape"),
            saved.load(),
            CheckpointError::ShapeMismatch { .. },
            says
        );
    }
    refused!(
        "encoder that is not a matrix",
        Saved::goodfire().with_tensor("encoder_linear.weight", &[48]).load(),
        CheckpointError::NotAMatrix { .. },
        [".pth", "encoder_linear.weight", "[48]", "expected a matrix"]
    );
}

#[test]
fn a_number_that_is_not_finite_is_refused_in_every_kind_of_file() {
    // Float32 weights that are memory-mapped are not read on loading.
    for (case, saved, tensor) in [
        ("transposed", Saved::sparsify().with_number("encoder.weight", f32::INFINITY), "encoder"),
        ("pt", Saved::qwen_scope().with_number("W_enc", f32::NAN), "W_enc"),
        ("pth", Saved::goodfire().with_number("decoder_linear.bias", f32::NAN), "decoder_linear"),
        ("exp", Saved::r1_distill().with_number("log_jumprelu_threshold", 1e3), "log_jumprelu"),
    ] {
        refused!(
            format!("{case}: not finite"),
            saved.load(),
            CheckpointError::NotFinite { at: 7, .. },
            [tensor, "index 7"]
        );
    }
}

#[test]
fn sizes_that_make_no_sae_are_refused_before_anything_is_allocated() {
    let huge = json!(1_u64 << 62);
    for (case, saved, says) in [
        ("SAELens, k 0", Saved::saelens().with_config("/k", json!(0)), "k is 0"),
        ("SAELens, k 49", Saved::saelens().with_config("/k", json!(49)), "k is 49"),
        ("SAELens, d_sae", Saved::saelens().with_config("/d_sae", huge.clone()), "d_sae is 4611"),
        ("sparsify, k 0", Saved::sparsify().with_config("/k", json!(0)), "k is 0"),
        (
            "sparsify, expansion",
            Saved::sparsify()
                .with_config("/num_latents", json!(0))
                .with_config("/expansion_factor", huge.clone()),
            "d_sae is 18446744073709551615",
        ),
        ("sparsify, d_in", Saved::sparsify().with_config("/d_in", huge.clone()), "d_in is 4611"),
        ("Llama Scope, d_sae", Saved::llama_scope().with_config("/d_sae", huge.clone()), "d_sae"),
        (
            "Llama Scope, expansion",
            Saved::r1_distill().with_config("/expansion_factor", huge),
            "d_sae is 18446744073709551615",
        ),
        (
            "Llama Scope, top_k",
            Saved::llama_scope().with_config("/act_fn", json!("topk")),
            "k is 50",
        ),
        ("OpenAI, k -1", Saved::openai("TopK".into(), top_k_state(Py::Int(-1), "ReLU")), "k is 0"),
    ] {
        refused!(
            case,
            saved.load(),
            CheckpointError::SaeFile(SaeFileError::Sae { source: SaeError::Size { .. }, .. }),
            [says, "1..="]
        );
    }
    refused!(
        "sparsify, groups",
        Saved::sparsify()
            .with_config("/activation", json!("groupmax"))
            .with_config("/k", json!(7))
            .load(),
        CheckpointError::SaeFile(SaeFileError::Sae {
            source: SaeError::Groups { k: 7, d_sae: 48 },
            ..
        }),
        ["cfg.json", "48 features", "7 groups"]
    );
    for norm in [0.0, -5.5] {
        refused!(
            format!("Llama Scope, mean norm {norm}"),
            Saved::llama_scope()
                .with_config("/dataset_average_activation_norm/in", json!(norm))
                .with_config("/dataset_average_activation_norm/out", json!(norm))
                .load(),
            CheckpointError::SaeFile(SaeFileError::Sae { source: SaeError::Scale { .. }, .. })
                | CheckpointError::UnknownValue { .. },
            ["hyperparams.json"]
        );
    }
    for (case, saved, says) in [
        ("negative", Saved::sparsify().with_config("/d_in", json!(-16)), "d_in: invalid value"),
        ("text", Saved::saelens().with_config("/d_sae", json!("48")), "d_sae: invalid type"),
        ("missing", Saved::sparsify().without_config("d_in"), "missing field `d_in`"),
        ("missing", Saved::llama_scope().without_config("act_fn"), "missing field `act_fn`"),
        (
            "negative, nested",
            Saved::dictionary("topk").with_config("/trainer/k", json!(-1)),
            "trainer.k: invalid value",
        ),
    ] {
        refused!(case, saved.load(), CheckpointError::Json { .. }, [says]);
    }
}

#[test]
fn a_scaling_factor_of_gemma_scope_is_accepted_only_if_it_is_ones() {
    let plain = Saved::gemma_scope().load().unwrap();
    let with = |value| Saved::gemma_scope().with_tensor_of("scaling_factor", &[48], value).load();

    assert_eq!(with(1.0).unwrap().sae.config(), plain.sae.config());
    for value in [1.001, 0.5, 0.0, -1.0] {
        let error = with(value).unwrap_err();
        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::UnexpectedSaeTensor { .. })),
            "{value}: {error}"
        );
        assert!(error.to_string().contains("`scaling_factor`"), "{error}");
    }
}
