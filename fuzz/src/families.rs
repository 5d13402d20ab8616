//! Small models of the families of transformers.

use crate::safetensors;

/// A family, or a layout of one that has other names.
pub const FAMILIES: [&str; 10] = [
    "gpt2",
    "gpt_neox",
    "llama",
    "mistral",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_multimodal",
    "qwen2",
    "qwen3",
];

/// A safetensors file of a one-block model of `family`, with every weight 0.125: a vocabulary of 16,
/// width 8, two heads of 4 channels, an MLP of width 12, and 32 positions in GPT-2. Families in which
/// heads can share keys have one head of them.
///
/// # Panics
/// If `family` is not in [`FAMILIES`].
pub fn family_weights(family: &str) -> Vec<u8> {
    let weights = match family {
        "gpt2" => gpt2(),
        "gpt_neox" => gpt_neox(),
        other => {
            assert!(FAMILIES.contains(&other), "unknown family {other}");
            gated(other)
        }
    };
    let weights: Vec<(&str, &[usize])> =
        weights.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    safetensors(&weights)
}

/// Names and shapes of weights.
type Weights = Vec<(String, Vec<usize>)>;

const VOCAB: usize = 16;
const WIDTH: usize = 8;
const HEAD: usize = 4;
const D_MLP: usize = 12;

fn gpt2() -> Weights {
    let mut weights = vec![
        ("transformer.wte.weight".to_owned(), vec![VOCAB, WIDTH]),
        ("transformer.wpe.weight".to_owned(), vec![32, WIDTH]),
        ("transformer.ln_f.weight".to_owned(), vec![WIDTH]),
        ("transformer.ln_f.bias".to_owned(), vec![WIDTH]),
    ];
    for (part, d_in, d_out) in [
        ("attn.c_attn", WIDTH, 3 * WIDTH),
        ("attn.c_proj", WIDTH, WIDTH),
        ("mlp.c_fc", WIDTH, D_MLP),
        ("mlp.c_proj", D_MLP, WIDTH),
    ] {
        weights.push((format!("transformer.h.0.{part}.weight"), vec![d_in, d_out]));
        weights.push((format!("transformer.h.0.{part}.bias"), vec![d_out]));
    }
    for part in ["ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"] {
        weights.push((format!("transformer.h.0.{part}"), vec![WIDTH]));
    }
    weights
}

fn gpt_neox() -> Weights {
    let mut weights = vec![
        ("embed_out.weight".to_owned(), vec![VOCAB, WIDTH]),
        ("gpt_neox.embed_in.weight".to_owned(), vec![VOCAB, WIDTH]),
        ("gpt_neox.final_layer_norm.weight".to_owned(), vec![WIDTH]),
        ("gpt_neox.final_layer_norm.bias".to_owned(), vec![WIDTH]),
    ];
    for (part, d_in, d_out) in [
        ("attention.query_key_value", WIDTH, 3 * WIDTH),
        ("attention.dense", WIDTH, WIDTH),
        ("mlp.dense_h_to_4h", WIDTH, D_MLP),
        ("mlp.dense_4h_to_h", D_MLP, WIDTH),
    ] {
        weights.push((format!("gpt_neox.layers.0.{part}.weight"), vec![d_out, d_in]));
        weights.push((format!("gpt_neox.layers.0.{part}.bias"), vec![d_out]));
    }
    for part in ["input_layernorm", "post_attention_layernorm"] {
        weights.push((format!("gpt_neox.layers.0.{part}.weight"), vec![WIDTH]));
        weights.push((format!("gpt_neox.layers.0.{part}.bias"), vec![WIDTH]));
    }
    weights
}

/// Llama, Mistral, Gemma and Qwen.
fn gated(family: &str) -> Weights {
    let multimodal = family == "gemma3_multimodal";
    let root = if multimodal { "language_model.model" } else { "model" };
    let block = format!("{root}.layers.0");
    let mut weights = vec![
        (format!("{root}.embed_tokens.weight"), vec![VOCAB, WIDTH]),
        (format!("{root}.norm.weight"), vec![WIDTH]),
    ];
    if !family.starts_with("gemma") {
        weights.push(("lm_head.weight".to_owned(), vec![VOCAB, WIDTH]));
    }
    for (part, d_in, d_out) in [
        ("self_attn.q_proj", WIDTH, 2 * HEAD),
        ("self_attn.k_proj", WIDTH, HEAD),
        ("self_attn.v_proj", WIDTH, HEAD),
        ("self_attn.o_proj", 2 * HEAD, WIDTH),
        ("mlp.gate_proj", WIDTH, D_MLP),
        ("mlp.up_proj", WIDTH, D_MLP),
        ("mlp.down_proj", D_MLP, WIDTH),
    ] {
        weights.push((format!("{block}.{part}.weight"), vec![d_out, d_in]));
    }
    let mut vectors =
        vec![("input_layernorm.weight", WIDTH), ("post_attention_layernorm.weight", WIDTH)];
    if matches!(family, "gemma2" | "gemma3" | "gemma3_multimodal") {
        vectors.push(("pre_feedforward_layernorm.weight", WIDTH));
        vectors.push(("post_feedforward_layernorm.weight", WIDTH));
    }
    if matches!(family, "gemma3" | "gemma3_multimodal" | "qwen3") {
        vectors.push(("self_attn.q_norm.weight", HEAD));
        vectors.push(("self_attn.k_norm.weight", HEAD));
    }
    if family == "qwen2" {
        vectors.push(("self_attn.q_proj.bias", 2 * HEAD));
        vectors.push(("self_attn.k_proj.bias", HEAD));
        vectors.push(("self_attn.v_proj.bias", HEAD));
    }
    weights.extend(
        vectors.into_iter().map(|(part, length)| (format!("{block}.{part}"), vec![length])),
    );
    weights
}
