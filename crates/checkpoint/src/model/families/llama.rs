//! Llama, Mistral, Qwen 2 and Qwen 3.

use nanoscope_transformer::{Activation, GptConfig, GptShape, QkNorm};

use crate::error::CheckpointError;
use crate::model::families::keys::Keys;
use crate::model::families::names::{Names, Packing};
use crate::model::families::rope::{self, RopeDefaults};
use crate::model::families::{Family, activation, plain, window, windowed_layers};

pub(super) fn describe(
    family: Family,
    keys: &Keys<'_>,
) -> Result<(GptConfig, Names), CheckpointError> {
    let n_head = keys.size("num_attention_heads")?.unwrap_or(32);
    let default_kv = match family {
        Family::Llama => n_head,
        Family::Mistral => 8,
        _ => 32,
    };
    let n_kv_head = keys.kv_heads(n_head, default_kv)?;
    let n_layer = keys.required("num_hidden_layers")?;
    let shape = GptShape {
        sequence_len: keys.required("max_position_embeddings")?,
        vocab_size: keys.required("vocab_size")?,
        n_layer,
        n_head,
        n_kv_head,
        n_embd: keys.required("hidden_size")?,
    };
    let own_head_dim = if family == Family::Qwen2 { None } else { keys.size("head_dim")? };
    let head_dim = match own_head_dim {
        Some(head_dim) => head_dim,
        None if family == Family::Qwen3 => 128,
        None => keys.head_dim(&shape)?,
    };
    let epsilon = keys.positive("rms_norm_eps")?.unwrap_or(1e-6);
    let mut config = plain(shape, head_dim, keys.required("intermediate_size")?, epsilon);
    config.mlp.activation = activation(keys, "hidden_act", Activation::Silu)?;
    config.tied = keys.flag("tie_word_embeddings")?.unwrap_or(false);
    let defaults = RopeDefaults { base: 10_000.0, head_dim, base_key: "rope_theta", partial: None };
    config.ropes = vec![rope::one(keys, &defaults)?];
    keys.only("rope_interleaved", false)?;
    match family {
        Family::Llama | Family::Qwen3 => {
            let bias = keys.flag("attention_bias")?.unwrap_or(false);
            config.attention.qkv_bias = bias;
            config.attention.out_bias = bias;
        }
        Family::Qwen2 => {
            config.attention.qkv_bias = true;
            keys.only("use_mrope", false)?;
        }
        _ => {}
    }
    match family {
        Family::Llama => config.mlp.bias = keys.flag("mlp_bias")?.unwrap_or(false),
        Family::Qwen3 => config.attention.qk_norm = QkNorm::GainBeforeRope,
        _ => {}
    }
    let (windowed, window) = match family {
        Family::Mistral => {
            let window = window(keys, Some(4096))?;
            (windowed_layers(keys, n_layer, window, |_| true)?, window)
        }
        Family::Qwen2 | Family::Qwen3 => {
            let used = keys.flag("use_sliding_window")?.unwrap_or(false);
            let from = keys.size("max_window_layers")?.unwrap_or(28);
            let window = window(keys, Some(4096))?.filter(|_| used);
            (windowed_layers(keys, n_layer, window, |layer| used && layer >= from)?, window)
        }
        _ => (Vec::new(), None),
    };
    for (layer, windowed) in config.layers.iter_mut().zip(windowed) {
        layer.window = window.filter(|_| windowed);
    }
    let names = Names {
        root: "model.".to_owned(),
        outside: OUTSIDE,
        blocks: "layers",
        parts: PARTS,
        packing: Packing::Separate,
        transposed: false,
        one_plus: false,
        tied: false,
        ignored: &["rotary_emb.inv_freq"],
    };
    Ok((config, names))
}

/// Names outside the blocks.
pub(super) const OUTSIDE: &[(&str, &str)] = &[
    ("transformer.wte.weight", "embed_tokens.weight"),
    ("transformer.ln_f.weight", "norm.weight"),
    ("lm_head.weight", "lm_head.weight"),
];

const PARTS: &[(&str, &str)] = &[
    ("attn.c_q", "self_attn.q_proj"),
    ("attn.c_k", "self_attn.k_proj"),
    ("attn.c_v", "self_attn.v_proj"),
    ("attn.c_proj", "self_attn.o_proj"),
    ("attn.q_norm", "self_attn.q_norm"),
    ("attn.k_norm", "self_attn.k_norm"),
    ("mlp.c_gate", "mlp.gate_proj"),
    ("mlp.c_fc", "mlp.up_proj"),
    ("mlp.c_proj", "mlp.down_proj"),
    ("ln_1", "input_layernorm"),
    ("ln_2", "post_attention_layernorm"),
];
