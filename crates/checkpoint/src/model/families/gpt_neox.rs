//! GPT-NeoX, which Pythia's models are.

use nanoscope_transformer::{Activation, GptConfig, GptShape, NormKind};

use crate::error::CheckpointError;
use crate::model::families::keys::Keys;
use crate::model::families::names::{Names, Packing};
use crate::model::families::rope::{self, RopeDefaults};
use crate::model::families::{activation, plain};

pub(super) fn describe(keys: &Keys<'_>) -> Result<(GptConfig, Names), CheckpointError> {
    let n_head = keys.size("num_attention_heads")?.unwrap_or(64);
    let shape = GptShape {
        sequence_len: keys.required("max_position_embeddings")?,
        vocab_size: keys.required("vocab_size")?,
        n_layer: keys.required("num_hidden_layers")?,
        n_head,
        n_kv_head: n_head,
        n_embd: keys.required("hidden_size")?,
    };
    let head_dim = keys.head_dim(&shape)?;
    let epsilon = keys.positive("layer_norm_eps")?.unwrap_or(1e-5);
    let mut config = plain(shape, head_dim, keys.required("intermediate_size")?, epsilon);
    let bias = keys.flag("attention_bias")?.unwrap_or(true);
    config.norm.kind = NormKind::LayerNorm;
    config.attention.qkv_bias = bias;
    config.attention.out_bias = bias;
    config.mlp.bias = true;
    config.mlp.gated = false;
    config.mlp.activation = activation(keys, "hidden_act", Activation::Gelu)?;
    config.parallel = keys.flag("use_parallel_residual")?.unwrap_or(true);
    config.tied = keys.flag("tie_word_embeddings")?.unwrap_or(false);
    let defaults = RopeDefaults {
        base: 10_000.0,
        head_dim,
        base_key: "rotary_emb_base",
        partial: Some(rope::part(keys, "rotary_pct", head_dim)?.unwrap_or(0.25)),
    };
    config.ropes = vec![rope::one(keys, &defaults)?];
    let names = Names {
        root: "gpt_neox.".to_owned(),
        outside: &[
            ("transformer.wte.weight", "embed_in.weight"),
            ("transformer.ln_f.weight", "final_layer_norm.weight"),
            ("transformer.ln_f.bias", "final_layer_norm.bias"),
            ("lm_head.weight", "embed_out.weight"),
        ],
        blocks: "layers",
        parts: &[
            ("attn.c_q", "attention.query_key_value"),
            ("attn.c_k", "attention.query_key_value"),
            ("attn.c_v", "attention.query_key_value"),
            ("attn.c_proj", "attention.dense"),
            ("mlp.c_fc", "mlp.dense_h_to_4h"),
            ("mlp.c_proj", "mlp.dense_4h_to_h"),
            ("ln_1", "input_layernorm"),
            ("ln_2", "post_attention_layernorm"),
        ],
        packing: Packing::PerHead { heads: n_head },
        transposed: false,
        one_plus: false,
        tied: false,
        ignored: &[".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"],
    };
    Ok((config, names))
}
