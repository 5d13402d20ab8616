//! Models of other families than nanochat, in the layout of Hugging Face's transformers.

use std::fs;

use nanoscope_checkpoint::{CheckpointError, LoadedModel, ModelFiles};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::hugging_face::change_json;
use crate::files::{fixture, load_model};
use crate::refused;

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "model.safetensors";

/// A model, a key of its `config.json` after those that lead to it, a value for it, and a part of the
/// message.
type Case = (&'static str, &'static str, Json, &'static str);

/// Copies the golden model `name` to a new folder.
pub(super) fn copy(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture("families").join(name).join("hf")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

/// Loads the model `name` after `change` to its `config.json`. `"@NaN"` becomes `NaN`, which JSON does
/// not have and Python writes.
fn with_config(name: &str, change: impl FnOnce(&mut Json)) -> Result<LoadedModel, CheckpointError> {
    let dir = copy(name);
    let path = dir.path().join(CONFIG);
    change_json(&path, change);
    let mut text = fs::read_to_string(&path).unwrap();
    for literal in ["NaN", "Infinity"] {
        text = text.replace(&format!("\"@{literal}\""), literal);
    }
    fs::write(&path, text).unwrap();
    load_model(dir.path(), None)
}

/// Loads it with the key at `place` set to `value`.
pub(super) fn with_key(
    name: &str,
    place: &str,
    value: Json,
) -> Result<LoadedModel, CheckpointError> {
    with_config(name, |config| {
        let (parents, key) = place.rsplit_once('/').unwrap_or(("", place));
        let mut object = config;
        for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
            object = &mut object[parent];
        }
        object[key] = value;
    })
}

/// [`refused!`] for each of `cases`.
macro_rules! refused_keys {
    ($variant:pat, $cases:expr) => {
        for (name, place, value, says) in $cases {
            let case = format!("{name}: {place} {value}");
            refused!(case, with_key(name, place, value), $variant, [CONFIG, says]);
        }
    };
}

#[test]
fn the_families_that_are_spoilt_here_are_good_before() {
    for entry in fs::read_dir(fixture("families")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            with_config(&name, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn a_value_that_is_not_of_its_keys_kind_is_refused() {
    let cases: Vec<Case> = vec![
        ("gpt2", "n_layer", json!(-1), "n_layer is `-1` (expected a whole number from 0 on)"),
        ("gpt2", "n_inner", json!(1.5), "n_inner is `1.5` (expected a whole number"),
        ("llama31", "hidden_size", json!("36"), "hidden_size is `36` (expected a whole number"),
        ("qwen3", "vocab_size", json!(true), "vocab_size is `true`"),
        ("gemma1", "num_key_value_heads", json!([1]), "num_key_value_heads is `[1]`"),
        ("mistral", "max_position_embeddings", json!("@NaN"), "max_position_embeddings is `NaN`"),
        ("llama31", "tie_word_embeddings", json!("yes"), "tie_word_embeddings is `yes` (expected"),
        ("llama31", "rope_parameters", json!("default"), "rope_parameters is `default` (expected"),
        ("gemma2", "layer_types", json!("full_attention"), "layer_types is `full_attention`"),
        ("gemma3_multimodal", "text_config", json!([]), "text_config is `[]` (expected an object)"),
        ("gemma3_multimodal", "text_config/hidden_size", json!(-1), "hidden_size is `-1`"),
    ];
    refused_keys!(CheckpointError::UnknownValue { .. }, cases);
}

#[test]
fn numbers_that_make_other_numbers_infinite_or_nan_are_refused() {
    let positive = "(expected a positive number of 32 bits)";
    for (name, key) in [
        ("gpt2", "layer_norm_epsilon"),
        ("pythia", "layer_norm_eps"),
        ("llama31", "rms_norm_eps"),
        ("gemma1", "rms_norm_eps"),
        ("qwen2", "rms_norm_eps"),
        ("gemma2", "query_pre_attn_scalar"),
        ("gemma3", "query_pre_attn_scalar"),
        ("gemma2", "attn_logit_softcapping"),
        ("gemma2", "final_logit_softcapping"),
        ("gemma3", "final_logit_softcapping"),
    ] {
        for value in [json!(0), json!(-1), json!(1e-60), json!(1e60), json!("@NaN")] {
            refused!(
                format!("{name}: {key} {value}"),
                with_key(name, key, value),
                CheckpointError::UnknownValue { .. },
                [CONFIG, key, positive]
            );
        }
    }
}

#[test]
fn rotary_embeddings_that_are_not_computed_are_refused() {
    let cases: Vec<Case> = vec![
        ("llama31", "rope_parameters/rope_type", json!("yarn"), "rope_type is `yarn` (expected"),
        ("qwen2", "rope_parameters/rope_type", json!("dynamic"), "rope_type is `dynamic`"),
        ("gemma2", "rope_parameters/rope_type", json!("longrope"), "rope_type is `longrope`"),
        ("llama_linear_old", "rope_scaling/type", json!("dynamic"), "rope_type is `dynamic`"),
        ("mistral", "rope_parameters/rope_theta", json!(0), "rope_theta is `0.0` (expected a"),
        ("pythia", "rope_parameters/rope_theta", json!("@NaN"), "rope_theta is `NaN`"),
        ("pythia_published", "rotary_emb_base", json!(-1), "rotary_emb_base is `-1.0`"),
        ("gemma3_scaled", "rope_local_base_freq", json!(0), "rope_local_base_freq is `0.0`"),
        ("pythia_published", "rotary_pct", json!(0), "rotary_pct is `0.0` (expected a part"),
        ("pythia_published", "rotary_pct", json!(0.1), "rotary_pct is `0.1` (expected a part"),
        (
            "pythia",
            "rope_parameters/partial_rotary_factor",
            json!(1.5),
            "partial_rotary_factor is `1.5` (expected a part of head_dim",
        ),
        (
            "llama31",
            "rope_parameters/partial_rotary_factor",
            json!(0.5),
            "partial_rotary_factor is `0.5` (expected 1)",
        ),
    ];
    refused_keys!(CheckpointError::UnknownValue { .. }, cases);
    let cases: Vec<Case> = vec![
        ("llama31", "rope_parameters/factor", json!(0), "factor is 0, it must be a positive"),
        ("llama31", "rope_parameters/factor", json!(-8), "factor is -8, it must be a positive"),
        ("llama_linear_old", "rope_scaling/factor", json!("@NaN"), "factor is NaN, it must be"),
        ("gemma3_scaled", "rope_scaling/factor", json!("@Infinity"), "factor is inf, it must be"),
        (
            "llama31",
            "rope_parameters/low_freq_factor",
            json!(8),
            "high_freq_factor is 4, it must be a finite number above low_freq_factor",
        ),
        (
            "llama31",
            "rope_parameters/original_max_position_embeddings",
            json!(0),
            "original_max_position_embeddings is 0, it must be",
        ),
        ("gemma3", "head_dim", json!(7), "at most head_dim = 7, found 7"),
    ];
    refused_keys!(CheckpointError::Config { .. }, cases);
}

#[test]
fn what_a_family_would_compute_otherwise_is_refused_by_its_key() {
    let cases: Vec<Case> = vec![
        ("llama31", "model_type", json!("mamba"), "model_type is `mamba` (expected nanochat, gpt2"),
        ("llama31", "hidden_act", json!("relu"), "hidden_act is `relu` (expected gelu, "),
        ("gemma3", "hidden_activation", json!("tanh"), "hidden_activation is `tanh`"),
        ("gpt2", "activation_function", json!("quick_gelu"), "activation_function is `quick_gelu`"),
        (
            "gpt2",
            "scale_attn_by_inverse_layer_idx",
            json!(true),
            "scale_attn_by_inverse_layer_idx is `true` (expected false)",
        ),
        (
            "gpt2",
            "scale_attn_weights",
            json!(false),
            "scale_attn_weights is `false` (expected true",
        ),
        ("gpt2", "add_cross_attention", json!(true), "add_cross_attention is `true`"),
        (
            "gemma3",
            "use_bidirectional_attention",
            json!(true),
            "use_bidirectional_attention is `true` (expected false)",
        ),
        ("qwen2", "use_mrope", json!(true), "use_mrope is `true` (expected false)"),
        (
            "llama31",
            "quantization_config",
            json!({"bits": 4}),
            "quantization_config is `{\"bits\":4}` (expected no quantization)",
        ),
        (
            "gemma2",
            "layer_types",
            json!(["full_attention"]),
            "layer_types is `1` (expected as many",
        ),
        (
            "gemma2",
            "layer_types",
            json!(["linear", "linear", "linear"]),
            "layer_types is `linear` (expected sliding",
        ),
        (
            "qwen3",
            "layer_types",
            json!(["sliding_attention", "full_attention"]),
            "layer_types is `sliding_attention` (expected full_attention, as no sliding_window",
        ),
        ("mistral", "sliding_window", json!(0), "sliding_window is `0` (expected at least 1"),
        ("mistral", "sliding_window", json!(-5), "sliding_window is `-5`"),
        ("gemma3_scaled", "sliding_window_pattern", json!(0), "sliding_window_pattern is `0`"),
        (
            "gemma3_multimodal",
            "text_config/model_type",
            json!("llama"),
            "text_config.model_type is `llama` (expected gemma3_text)",
        ),
    ];
    refused_keys!(CheckpointError::UnknownValue { .. }, cases);
    let cases: Vec<Case> = vec![
        ("llama31", "sliding_window", json!(5), "unknown key `sliding_window`"),
        ("llama31", "partial_rotary_factor", json!(0.5), "unknown key `partial_rotary_factor`"),
        ("llama31", "rope_parameters/attention_factor", json!(2), "unknown key `attention_factor`"),
        ("mistral", "attention_bias", json!(true), "unknown key `attention_bias`"),
        ("gemma1", "layer_types", json!([]), "unknown key `layer_types`"),
        ("gemma3", "rope_parameters/other", json!({}), "unknown key `other`"),
        ("qwen3", "num_local_experts", json!(8), "unknown key `num_local_experts`"),
        ("gpt2", "rope_scaling", json!({"type": "linear"}), "unknown key `rope_scaling`"),
        ("gemma3_multimodal", "text_config/logit_scale", json!(2), "unknown key `logit_scale`"),
    ];
    refused_keys!(CheckpointError::UnknownKey { .. }, cases);
}

#[test]
fn sizes_that_make_no_model_are_refused_in_the_familys_words() {
    let cases: Vec<Case> = vec![
        ("gpt2", "n_layer", json!(0), "n_layer is 0, it must be in 1..=4096"),
        ("gpt2", "n_positions", json!(0), "n_positions is 0, it must be in"),
        ("gpt2", "n_inner", json!(1_u64 << 40), "n_inner is 1099511627776, it must be in"),
        ("gpt2", "n_head", json!(7), "n_embd is 36, it must be a multiple of n_head = 7"),
        ("llama31", "num_hidden_layers", json!(1 << 16), "num_hidden_layers is 65536, it must be"),
        ("llama31", "vocab_size", json!(u64::MAX), "vocab_size is 18446744073709551615, it must"),
        (
            "llama31",
            "num_key_value_heads",
            json!(4),
            "num_attention_heads is 6, it must be a multiple of num_key_value_heads = 4",
        ),
        (
            "qwen2",
            "hidden_size",
            json!(37),
            "hidden_size is 37, it must be a multiple of num_attention_heads = 6",
        ),
        ("qwen3", "intermediate_size", json!(0), "intermediate_size is 0, it must be in"),
        ("gemma1", "num_attention_heads", json!(0), "num_attention_heads is 0, it must be in"),
        ("gemma3", "head_dim", json!(0), "head_dim is 0, it must be in"),
        ("mistral", "head_dim", json!(1 << 20), "head_dim is 1048576, it must be in"),
        (
            "pythia",
            "max_position_embeddings",
            json!(1_u64 << 40),
            "max_position_embeddings is 1099511627776, it must be in",
        ),
    ];
    refused_keys!(CheckpointError::Config { .. }, cases);
}

#[test]
fn keys_that_have_to_be_there_are_named() {
    let required: [(&str, &[&str]); 5] = [
        ("gpt2", &["n_layer", "n_embd", "n_positions", "vocab_size"]),
        ("pythia", &["num_hidden_layers", "hidden_size", "intermediate_size"]),
        ("llama31", &["num_hidden_layers", "hidden_size", "max_position_embeddings", "vocab_size"]),
        ("gemma2", &["intermediate_size", "vocab_size"]),
        ("llama31", &["rope_parameters/factor", "rope_parameters/low_freq_factor"]),
    ];
    for (name, keys) in required {
        for place in keys {
            let key = place.rsplit('/').next().unwrap();
            let absent = with_config(name, |config| {
                let object = match place.split_once('/') {
                    Some((parent, _)) => &mut config[parent],
                    None => config,
                };
                object.as_object_mut().unwrap().remove(key);
            });
            for (how, spoilt) in [("absent", absent), ("null", with_key(name, place, json!(null)))]
            {
                refused!(
                    format!("{name}: {place} is {how}"),
                    spoilt,
                    CheckpointError::MissingKey { .. },
                    [CONFIG, format!("has no key `{key}`").as_str()]
                );
            }
        }
    }
    refused!(
        "no type",
        with_config("gemma2", |config| {
            config.as_object_mut().unwrap().remove("model_type");
        }),
        CheckpointError::Json { .. },
        [CONFIG, "missing field `model_type`"]
    );
}

#[test]
fn no_number_of_key_heads_is_as_many_as_heads() {
    for (name, shape) in [("llama31", "[72, 36]"), ("gemma1", "[48, 32]"), ("qwen3", "[48, 32]")] {
        refused!(
            name,
            with_key(name, "num_key_value_heads", json!(null)),
            CheckpointError::ShapeMismatch { .. },
            [WEIGHTS, "model.layers.0.self_attn.k_proj.weight", shape]
        );
    }
}

#[test]
fn keys_that_ask_for_nothing_are_passed_over() {
    let cases: [(&str, &str, Json); 9] = [
        ("llama31", "rope_scaling", json!({})),
        ("gemma3", "rope_scaling", json!({})),
        ("llama31", "add_cross_attention", json!(false)),
        ("llama31", "pruned_heads", json!({})),
        ("llama31", "rope_interleaved", json!(false)),
        ("llama31", "is_llama_config", json!(true)),
        ("gemma2", "sliding_window_size", json!(4096)),
        ("pythia", "hidden_dropout_prob", json!(0.1)),
        ("gpt2", "max_length", json!(20)),
    ];
    for (name, key, value) in cases {
        let described = |model: &LoadedModel| model.gpt.config().clone();
        let expected = described(&with_config(name, |_| {}).unwrap());
        let found = with_config(name, |config| config[key] = value.clone());
        let found = found.unwrap_or_else(|error| panic!("{name}, {key}: {error}"));
        assert_eq!(described(&found), expected, "{name}, {key}");
    }
    refused!(
        "a scaling beside the parameters of each kind of layer",
        with_config("gemma3", |config| {
            config["rope_scaling"] = json!({"rope_type": "linear", "factor": 8});
        }),
        CheckpointError::UnknownValue { .. },
        [CONFIG, "rope_scaling is"]
    );
    refused!(
        "heads that were taken away",
        with_config("llama31", |config| config["pruned_heads"] = json!({"0": [1]})),
        CheckpointError::UnknownValue { .. },
        [CONFIG, "pruned_heads is"]
    );
}

#[test]
fn a_tokenizer_above_the_folder_is_not_the_models() {
    let dir = TempDir::new().unwrap();
    let model = dir.path().join("models/mine");
    fs::create_dir_all(&model).unwrap();
    for name in [CONFIG, "model.safetensors"] {
        fs::copy(fixture("families/llama31/hf").join(name), model.join(name)).unwrap();
    }
    fs::copy(fixture("families/gemma2/hf/tokenizer.json"), dir.path().join("tokenizer.json"))
        .unwrap();

    assert_eq!(ModelFiles::find(&model).unwrap().tokenizer, None);

    fs::create_dir(model.join("tokenizer")).unwrap();
    let own = model.join("tokenizer/tokenizer.json");
    fs::copy(fixture("families/llama31/hf/tokenizer.json"), own).unwrap();
    assert_eq!(ModelFiles::find(&model).unwrap().tokenizer, Some(model.join("tokenizer")));
}
