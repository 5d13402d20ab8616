//! SAEs of other tools: configurations that are not supported, or contradict the weights.

use std::fs;

use nanoscope_checkpoint::{CheckpointError, SaeFileError, load_sae, load_saes};
use nanoscope_testing::pickle::Py;
use serde_json::json;
use tempfile::TempDir;

use super::saved::{Saved, top_k_state};
use crate::files::device;
use crate::refused;

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
        // The error is not that the folder has no SAE.
        crate::expect_refusal(case, || load_sae(saved.dir.path(), &device()), is, &[says]);
    }
}

#[test]
fn what_contradicts_the_weights_or_is_said_by_nothing_is_refused() {
    refused!(
        "k of another dictionary",
        Saved::dictionary("topk").with_config("/trainer/k", json!(7)).load(),
        CheckpointError::Contradicted { .. },
        ["config.json", "trainer.k is 7", "weights have 6"]
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
        CheckpointError::SaeFile(SaeFileError::NoHook { .. }),
        ["params.npz", "do not name its hook point"]
    );
    // Without the key nothing is missing.
    assert!(load_sae(&moved, &device()).unwrap().hooks.hook.is_none());
    let free = Saved::dictionary("topk").with_config("/trainer/submodule_name", json!("mlp 3"));
    refused!(
        "dictionary of a module whose name is free text",
        load_saes([free.weights.as_path()], &device()),
        CheckpointError::SaeFile(SaeFileError::Hook { .. }),
        ["ae.pt", "`mlp 3`"]
    );
    let foreign = Saved::dictionary("topk");
    fs::remove_file(&foreign.config).unwrap();
    refused!(
        "dictionary without its configuration",
        foreign.load(),
        CheckpointError::SaeFile(SaeFileError::NotAnSae { .. }),
        ["ae.pt", "encoder.weight", "is not an SAE of a known format"]
    );
    let empty = TempDir::new().unwrap();
    fs::write(empty.path().join("notes.txt"), "nothing").unwrap();
    refused!(
        "folder without an SAE",
        load_sae(empty.path(), &device()),
        CheckpointError::SaeFile(SaeFileError::NoSae { .. }),
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
