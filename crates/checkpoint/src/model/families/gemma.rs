//! Gemma 1, 2 and 3.

use nanoscope_transformer::{Activation, GptConfig, GptShape, QkNorm};

use crate::error::CheckpointError;
use crate::model::families::keys::Keys;
use crate::model::families::llama::OUTSIDE;
use crate::model::families::names::{Names, Packing};
use crate::model::families::rope::{self, RopeDefaults};
use crate::model::families::{Family, activation, plain, window, windowed_layers};

pub(super) fn describe(
    family: Family,
    keys: &Keys<'_>,
) -> Result<(GptConfig, Names), CheckpointError> {
    if let (Family::Gemma3, Some(text)) = (family, keys.object("text_config")?) {
        let tied = keys.flag("tie_word_embeddings")?;
        if let Some(found) = text.text("model_type")?.filter(|found| *found != "gemma3_text") {
            return Err(text.unknown("text_config.model_type", &found.into(), "gemma3_text"));
        }
        let (mut config, names) = describe_text(family, &text, true)?;
        text.finish()?;
        config.tied = tied.unwrap_or(config.tied);
        return Ok((config, names));
    }
    describe_text(family, keys, false)
}

fn describe_text(
    family: Family,
    keys: &Keys<'_>,
    multimodal: bool,
) -> Result<(GptConfig, Names), CheckpointError> {
    let defaults = match family {
        Family::Gemma => Defaults { heads: 16, kv_heads: 16, layers: 28, width: 3072, mlp: 24576 },
        // Gemma 2 and 3.
        _ => Defaults { heads: 8, kv_heads: 4, layers: 26, width: 2304, mlp: 9216 },
    };
    // The text model of a multimodal folder leaves out what equals the defaults.
    let size = |key, default: usize| match keys.size(key)? {
        None if !multimodal => Err(keys.missing(key)),
        found => Ok(found.unwrap_or(default)),
    };
    let n_head = keys.size("num_attention_heads")?.unwrap_or(defaults.heads);
    let n_layer = size("num_hidden_layers", defaults.layers)?;
    let shape = GptShape {
        sequence_len: size("max_position_embeddings", 131_072)?,
        vocab_size: size("vocab_size", 262_208)?,
        n_layer,
        n_head,
        n_kv_head: keys.kv_heads(n_head, defaults.kv_heads)?,
        n_embd: size("hidden_size", defaults.width)?,
    };
    let head_dim = keys.size("head_dim")?.unwrap_or(256);
    let epsilon = keys.positive("rms_norm_eps")?.unwrap_or(1e-6);
    let d_mlp = size("intermediate_size", defaults.mlp)?;
    let mut config = plain(shape, head_dim, d_mlp, epsilon);
    config.embedding.scale = Some((shape.n_embd as f32).sqrt());
    config.tied = keys.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = keys.flag("attention_bias")?.unwrap_or(false);
    config.attention.qkv_bias = bias;
    config.attention.out_bias = bias;
    keys.only("use_bidirectional_attention", false)?;
    config.mlp.activation = mlp_activation(family, keys)?;
    config.post_norms = family != Family::Gemma;

    let rope = RopeDefaults {
        base: if family == Family::Gemma3 { 1_000_000.0 } else { 10_000.0 },
        head_dim,
        base_key: "rope_theta",
        partial: None,
    };
    if family == Family::Gemma {
        config.ropes = vec![rope::one(keys, &rope)?];
        return Ok((config, names(family, multimodal)));
    }
    let scalar = keys.positive("query_pre_attn_scalar")?.unwrap_or(256.0);
    config.attention.score_scale = (1.0 / scalar.sqrt()) as f32;
    let window = window(keys, Some(4096))?;
    let windowed = if family == Family::Gemma2 {
        let cap = keys.positive("attn_logit_softcapping")?;
        let absent = |key: &str, default| (!keys.has(key)).then_some(default);
        config.attention.score_softcap =
            cap.or(absent("attn_logit_softcapping", 50.0)).map(|cap| cap as f32);
        let cap = keys.positive("final_logit_softcapping")?;
        config.softcap = cap.or(absent("final_logit_softcapping", 30.0)).map(|cap| cap as f32);
        config.ropes = vec![rope::one(keys, &rope)?];
        windowed_layers(keys, n_layer, window, |layer| layer % 2 == 0)?
    } else {
        // Gemma 3's configuration has this key and its model does not use it.
        keys.number("attn_logit_softcapping")?;
        config.softcap = keys.positive("final_logit_softcapping")?.map(|cap| cap as f32);
        config.attention.qk_norm = QkNorm::GainBeforeRope;
        config.ropes = rope::per_kind(keys, &rope, 10_000.0)?.to_vec();
        let hidden = keys.size("_sliding_window_pattern")?;
        let pattern = keys.size("sliding_window_pattern")?.or(hidden).unwrap_or(6);
        if pattern == 0 {
            return Err(keys.unknown("sliding_window_pattern", &0.into(), "at least 1"));
        }
        windowed_layers(keys, n_layer, window, |layer| (layer + 1) % pattern != 0)?
    };
    let several = config.ropes.len() > 1;
    for (layer, windowed) in config.layers.iter_mut().zip(windowed) {
        layer.window = window.filter(|_| windowed);
        layer.rope = usize::from(several && windowed);
    }
    Ok((config, names(family, multimodal)))
}

/// Gemma 1's older configurations have `hidden_act: gelu` and mean the formula with the tangent; later
/// keys say it.
fn mlp_activation(family: Family, keys: &Keys<'_>) -> Result<Activation, CheckpointError> {
    let old = activation(keys, "hidden_act", Activation::GeluTanh)?;
    let new = activation(keys, "hidden_activation", Activation::GeluTanh)?;
    Ok(match (family, old) {
        (Family::Gemma, Activation::Gelu | Activation::GeluTanh) => new,
        (Family::Gemma, old) => old,
        _ => new,
    })
}

/// Sizes that a configuration may leave out.
struct Defaults {
    heads: usize,
    kv_heads: usize,
    layers: usize,
    width: usize,
    mlp: usize,
}

fn names(family: Family, multimodal: bool) -> Names {
    Names {
        root: if multimodal { "model.language_model." } else { "model." }.to_owned(),
        outside: OUTSIDE,
        blocks: "layers",
        parts: if family == Family::Gemma { PARTS_1 } else { PARTS },
        packing: Packing::Separate,
        transposed: false,
        one_plus: true,
        tied: false,
        ignored: if multimodal { BESIDE_TEXT } else { &["rotary_emb.inv_freq"] },
    }
}

/// The tensors of a multimodal model that its text model does not have.
const BESIDE_TEXT: &[&str] = &[
    "rotary_emb.inv_freq",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    "vision_tower.",
    "multi_modal_projector.",
];

const PARTS_1: &[(&str, &str)] = &[
    ("attn.c_q", "self_attn.q_proj"),
    ("attn.c_k", "self_attn.k_proj"),
    ("attn.c_v", "self_attn.v_proj"),
    ("attn.c_proj", "self_attn.o_proj"),
    ("mlp.c_gate", "mlp.gate_proj"),
    ("mlp.c_fc", "mlp.up_proj"),
    ("mlp.c_proj", "mlp.down_proj"),
    ("ln_1", "input_layernorm"),
    ("ln_2", "post_attention_layernorm"),
];

/// In Gemma 2 and 3 `post_attention_layernorm` is the norm after attention.
const PARTS: &[(&str, &str)] = &[
    ("attn.c_q", "self_attn.q_proj"),
    ("attn.c_k", "self_attn.k_proj"),
    ("attn.c_v", "self_attn.v_proj"),
    ("attn.c_proj", "self_attn.o_proj"),
    ("attn.q_norm", "self_attn.q_norm"),
    ("attn.k_norm", "self_attn.k_norm"),
    ("attn.post_norm", "post_attention_layernorm"),
    ("mlp.c_gate", "mlp.gate_proj"),
    ("mlp.c_fc", "mlp.up_proj"),
    ("mlp.c_proj", "mlp.down_proj"),
    ("mlp.post_norm", "post_feedforward_layernorm"),
    ("ln_1", "input_layernorm"),
    ("ln_2", "pre_feedforward_layernorm"),
];
