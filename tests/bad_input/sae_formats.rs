//! SAEs of other tools with one thing wrong, each made of a fixture that is sound.

use std::fs;

use nanoscope_checkpoint::{CheckpointError, load_sae, load_saes};
use nanoscope_sae::SaeError;
use serde_json::json;
use tempfile::TempDir;
use zip::CompressionMethod;

use crate::files::{device, floats, zip_of};
use crate::python::Py;
use crate::refused;
use crate::saved::{Saved, header, npy, top_k_state};

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

    // Twice the norm is half the scale, and what is written is divided by it.
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
        ("TopK without k", Saved::dictionary("topk").without("k"), "`k`"),
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
            CheckpointError::UnexpectedSaeTensor { .. },
            [saved.weights.file_name().unwrap().to_str().unwrap(), says, "no weight"]
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
        "encoder that is no matrix",
        Saved::goodfire().with_tensor("encoder_linear.weight", &[48]).load(),
        CheckpointError::NotAMatrix { .. },
        [".pth", "encoder_linear.weight", "[48]", "expected a matrix"]
    );
}

#[test]
fn a_number_that_is_not_finite_is_refused_in_every_kind_of_file() {
    // Float32 that is mapped as it is is not read when it is loaded.
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
            CheckpointError::Sae { source: SaeError::Size { .. }, .. },
            [says, "1..="]
        );
    }
    refused!(
        "sparsify, groups",
        Saved::sparsify()
            .with_config("/activation", json!("groupmax"))
            .with_config("/k", json!(7))
            .load(),
        CheckpointError::Sae { source: SaeError::Groups { k: 7, d_sae: 48 }, .. },
        ["cfg.json", "48 features", "7 groups"]
    );
    for norm in [0.0, -5.5] {
        refused!(
            format!("Llama Scope, mean norm {norm}"),
            Saved::llama_scope()
                .with_config("/dataset_average_activation_norm/in", json!(norm))
                .with_config("/dataset_average_activation_norm/out", json!(norm))
                .load(),
            CheckpointError::Sae { source: SaeError::Scale { .. }, .. }
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
fn what_means_nothing_to_us_is_refused_by_key_and_value() {
    let affine = || Saved::gemma_scope_2("transcoder", "layer_12_width_16k_l0_small_affine");
    for (case, saved, says) in [
        (
            "SAELens architecture",
            Saved::saelens().with_config("/architecture", json!("temporal")),
            ["cfg.json", "architecture is `temporal`", "jumprelu"],
        ),
        (
            "SAELens normalisation",
            Saved::saelens().with_config("/normalize_activations", json!("unit")),
            ["cfg.json", "normalize_activations is `unit`", "layer_norm"],
        ),
        (
            "Gemma Scope 2 architecture",
            affine().with_config("/architecture", json!("topk")),
            ["config.json", "architecture is `topk`", "jump_relu"],
        ),
        (
            "Gemma Scope 2 type",
            affine().with_config("/type", json!("decoder")),
            ["config.json", "type is `decoder`", "transcoder"],
        ),
        (
            "dictionary class",
            Saved::dictionary("topk").with_config("/trainer/dict_class", json!("CrossCoder")),
            ["config.json", "dict_class is `CrossCoder`", "AutoEncoderTopK"],
        ),
        (
            "dictionary io",
            Saved::dictionary("topk").with_config("/buffer/io", json!("both")),
            ["config.json", "buffer.io is `both`", "in_and_out"],
        ),
        (
            "sparsify activation",
            Saved::sparsify().with_config("/activation", json!("batchtopk")),
            ["cfg.json", "activation is `batchtopk`", "groupmax"],
        ),
        (
            "OpenAI activation",
            Saved::openai("Identity".into(), Py::Dict(Vec::new())),
            ["8.pt", "Identity", "ReLU, TopK"],
        ),
        (
            "OpenAI activation after top-k",
            Saved::openai("TopK".into(), top_k_state(Py::Int(6), "Tanh")),
            ["8.pt", "Tanh", "Identity"],
        ),
        (
            "Llama Scope activation",
            Saved::llama_scope().with_config("/act_fn", json!("batchtopk")),
            ["hyperparams.json", "act_fn is `batchtopk`", "jumprelu"],
        ),
        (
            "Llama Scope normalisation",
            Saved::llama_scope().with_config("/norm_activation", json!("token-wise")),
            ["hyperparams.json", "norm_activation is `token-wise`", "dataset-wise"],
        ),
        (
            "Llama Scope type",
            Saved::r1_distill().with_config("/sae_type", json!("lorsa")),
            ["config.json", "sae_type is `lorsa`", "(expected sae)"],
        ),
        (
            "circuit-tracer kind",
            Saved::circuit_tracer(&tracer_config("transcoder", "")),
            ["config.yaml", "model_kind is `transcoder`", "transcoder_set"],
        ),
    ] {
        refused!(case, saved.load(), CheckpointError::UnknownValue { .. }, says);
    }
    for (case, saved, says) in [
        ("SAELens", Saved::saelens().with_config("/whiten", json!(true)), "`whiten`"),
        ("Gemma Scope 2", affine().with_config("/scale", json!(2)), "`scale`"),
        ("sparsify", Saved::sparsify().with_config("/normalize", json!(1)), "`normalize`"),
        (
            "circuit-tracer",
            Saved::circuit_tracer(&tracer_config("transcoder_set", "fold: true")),
            "`fold`",
        ),
    ] {
        let case = format!("{case}: unknown key");
        refused!(case, saved.load(), CheckpointError::UnknownKey { .. }, [says, "unknown key"]);
    }
}

fn tracer_config(kind: &str, more: &str) -> String {
    format!(
        "model_name: x\nmodel_kind: {kind}\nfeature_input_hook: mlp.hook_in\n\
         feature_output_hook: mlp.hook_out\n{more}\n"
    )
}

#[test]
fn what_nothing_here_computes_is_refused_by_name() {
    let cross =
        Saved::case("circuit-tracer/cross_layer", "clt/W_enc_0.safetensors", "clt/config.yaml");
    let clt = || {
        let site = Saved::gemma_scope_2("resid_post", "layer_12_width_16k_l0_small");
        site.with_tensor("w_dec", &[48, 3, 16])
    };
    for (case, saved, says) in [
        ("cross-layer transcoder", cross, "cross_layer_transcoder"),
        ("cross-layer transcoder of Gemma Scope 2", clt(), "a clt"),
        (
            "crosscoder of Gemma Scope 2",
            clt().with_config("/type", json!("crosscoder")),
            "a crosscoder",
        ),
        (
            "SAELens, one head",
            Saved::saelens().with_config("/metadata/hook_head_index", json!(3)),
            "one attention head (3)",
        ),
        (
            "dictionary from input to output",
            Saved::dictionary("topk").with_config("/buffer/io", json!("in_and_out")),
            "in_and_out",
        ),
        ("signed", Saved::sparsify().with_config("/signed", json!(true)), "`signed`"),
        (
            "gated linear units",
            Saved::llama_scope().with_config("/use_glu_encoder", json!(true)),
            "use_glu_encoder",
        ),
        (
            "top-k by another measure",
            Saved::llama_scope()
                .with_config("/act_fn", json!("topk"))
                .with_config("/sparsity_include_decoder_norm", json!(true)),
            "topk with sparsity_include_decoder_norm",
        ),
        (
            "a bias for two widths",
            Saved::llama_scope()
                .with_config("/hook_point_out", json!("blocks.15.hook_mlp_out"))
                .with_config("/apply_decoder_bias_to_pre_encoder", json!(true)),
            "apply_decoder_bias_to_pre_encoder",
        ),
    ] {
        let is = |error: &CheckpointError| matches!(error, CheckpointError::Unsupported { .. });
        crate::expect_refusal(case, || saved.load(), is, &[says, "not supported"]);
        // A folder is not one in which nothing was found.
        crate::expect_refusal(case, || load_sae(saved.dir.path(), &device()), is, &[says]);
    }
}

#[test]
fn what_contradicts_the_weights_or_is_said_by_nothing_is_refused() {
    refused!(
        "k of another dictionary",
        Saved::dictionary("topk").with_config("/trainer/k", json!(7)).load(),
        CheckpointError::Contradicted { .. },
        ["config.json", "trainer.k is 7", "weights say 6"]
    );
    refused!(
        "OpenAI's top-k without k",
        Saved::openai("TopK".into(), Py::Dict(Vec::new())).load(),
        CheckpointError::MissingKey { .. },
        ["8.pt", "activation_state_dict.k"]
    );
    refused!(
        "Llama Scope without a width",
        Saved::r1_distill().without_config("expansion_factor").load(),
        CheckpointError::MissingKey { .. },
        ["config.json", "expansion_factor"]
    );
    let qwen = Saved::qwen_scope();
    let moved = qwen.dir.path().join("layer3.sae.pt");
    fs::rename(&qwen.weights, &moved).unwrap();
    refused!(
        "Qwen Scope without its repository's name",
        load_sae(&moved, &device()),
        CheckpointError::NotInPath { .. },
        ["layer3.sae.pt", "the number of features kept", "L0_50"]
    );
    let gemma = Saved::gemma_scope();
    let moved = gemma.dir.path().join("params.npz");
    fs::rename(&gemma.weights, &moved).unwrap();
    refused!(
        "Gemma Scope without a layer",
        load_saes([moved.as_path()], &device()),
        CheckpointError::NoHook { .. },
        ["params.npz", "which hook point"]
    );
    // Where it is not asked for, nothing is missing.
    assert!(load_sae(&moved, &device()).unwrap().hooks.hook.is_none());
    let free = Saved::dictionary("topk").with_config("/trainer/submodule_name", json!("mlp 3"));
    refused!(
        "dictionary of a module whose name is free text",
        load_saes([free.weights.as_path()], &device()),
        CheckpointError::Hook { .. },
        ["ae.pt", "`mlp 3`"]
    );
    let foreign = Saved::dictionary("topk");
    fs::remove_file(&foreign.config).unwrap();
    refused!(
        "dictionary without its configuration",
        foreign.load(),
        CheckpointError::NotAnSae { .. },
        ["ae.pt", "encoder.weight", "no SAE of a known format"]
    );
    let empty = TempDir::new().unwrap();
    fs::write(empty.path().join("notes.txt"), "nothing").unwrap();
    refused!(
        "folder without an SAE",
        load_sae(empty.path(), &device()),
        CheckpointError::NoSae { .. },
        ["params.npz", "sae_weights.safetensors", "layer_<i>.safetensors"]
    );
}

#[test]
fn a_yaml_that_is_no_configuration_is_refused() {
    let doubled = |at: usize| format!("a{at}: &a{at} [*a{}, *a{}]\n", at - 1, at - 1);
    let bomb = (1..30).map(doubled).collect::<Vec<_>>().concat();
    let nested = "[".repeat(50_000);
    for (case, text, says) in [
        ("aliases of aliases", format!("a0: &a0 [x]\n{bomb}"), "line 2 has an alias"),
        ("nested", format!("model_kind: {nested}"), "limit exceeded"),
        ("open", "model_kind: [".to_owned(), "line"),
        ("twice", tracer_config("transcoder_set", "model_kind: x"), "a second `model_kind`"),
        ("not UTF-8", "\u{0}".to_owned(), "config.yaml"),
    ] {
        refused!(
            format!("YAML: {case}"),
            Saved::circuit_tracer(&text).load(),
            CheckpointError::Yaml { .. } | CheckpointError::Json { .. },
            ["config.yaml", says]
        );
    }
    refused!(
        "YAML: long",
        Saved::circuit_tracer(&"# no end\n".repeat(200_000)).load(),
        CheckpointError::FileTooLarge { .. },
        ["config.yaml", "1048576 bytes"]
    );
    refused!(
        "YAML: a list",
        Saved::circuit_tracer("- model_kind\n").load(),
        CheckpointError::Json { .. },
        ["config.yaml"]
    );
}

#[test]
fn a_npz_that_numpy_does_not_write_is_refused() {
    let with = |array: Vec<u8>| {
        let entries = [("W_enc.npy".to_owned(), array.as_slice())];
        let bytes = zip_of(&entries, CompressionMethod::Stored);
        Saved::gemma_scope().with_bytes(|_| bytes)
    };
    let numbers = floats(&[0.5; 6]);
    let lies = |text: &str| with(npy(text, &numbers));
    for (case, saved, says) in [
        ("truncated", Saved::gemma_scope().with_bytes(|b| b[..b.len() / 2].to_vec()), "complete?"),
        (
            "cut in the directory",
            Saved::gemma_scope().with_bytes(|b| b[..b.len() - 9].to_vec()),
            "",
        ),
        ("a shape too large", with(npy(&header(&[2, 4]), &numbers)), "24 bytes of data"),
        ("a shape too small", with(npy(&header(&[2, 2]), &numbers)), "24 bytes of data"),
        ("a shape beyond memory", with(npy(&header(&[1 << 40, 1 << 40]), &numbers)), "24 bytes"),
        ("no header", with(b"W_enc".to_vec()), "it is not a numpy array"),
        ("header cut off", with(npy(&header(&[2, 3]), &[])[..20].to_vec()), "truncated"),
        ("version 9", with(b"\x93NUMPY\x09\x00\x10\x00".to_vec()), "version 9.0"),
        (
            "header of 4 GB",
            with(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec()),
            "4294967295 bytes",
        ),
        ("big end first", lies("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}"), ">f4"),
        (
            "column by column",
            lies("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}"),
            "fortran_order",
        ),
        (
            "a negative size",
            lies("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}"),
            "cannot read the header",
        ),
        ("code for a header", lies("__import__('os').system('true')"), "cannot read the header"),
    ] {
        let case = format!("npz: {case}");
        refused!(case, saved.load(), CheckpointError::Npz { .. }, ["params.npz", says]);
    }
    let array = npy(&header(&[2, 3]), &numbers);
    let entries = [("W_enc.npy".to_owned(), array.as_slice()), ("notes".to_owned(), b"x")];
    let bytes = zip_of(&entries, CompressionMethod::Stored);
    refused!(
        "npz: something else in it",
        Saved::gemma_scope().with_bytes(|_| bytes).load(),
        CheckpointError::Npz { .. },
        ["params.npz", "`notes`"]
    );
    // The zip crate writes no name twice, so one is changed afterwards.
    let entries = [("W_enc.npy".to_owned(), array.as_slice()), ("W_enc.npz".to_owned(), b"x")];
    let mut bytes = zip_of(&entries, CompressionMethod::Stored);
    for at in 0..bytes.len() - 9 {
        if &bytes[at..at + 9] == b"W_enc.npz" {
            bytes[at + 8] = b'y';
        }
    }
    refused!(
        "npz: one name twice",
        Saved::gemma_scope().with_bytes(|_| bytes).load(),
        CheckpointError::Npz { .. },
        ["params.npz", "the same name"]
    );
    let sae = Saved::gemma_scope().with(|tensors| tensors.retain(|name, _| name == "b_dec"));
    refused!("npz: no SAE", sae.load(), CheckpointError::NotAnSae { .. }, ["params.npz", "b_dec"]);
}

#[test]
fn a_safetensors_file_that_is_cut_or_lies_is_refused() {
    for (case, saved) in [
        ("truncated", Saved::sparsify().with_bytes(|b| b[..b.len() - 4].to_vec())),
        ("header cut", Saved::sparsify().with_bytes(|b| b[..40].to_vec())),
        (
            "header beyond the file",
            Saved::sparsify().with_bytes(|mut b| {
                b[..8].copy_from_slice(&0xffff_ffff_u64.to_le_bytes());
                b
            }),
        ),
    ] {
        refused!(
            format!("safetensors: {case}"),
            saved.load(),
            CheckpointError::Safetensors { .. },
            ["sae.safetensors"]
        );
    }
}
