//! GPT-2.

use nanoscope_transformer::{Activation, GptConfig, GptShape, NormKind};

use crate::error::CheckpointError;
use crate::model::families::keys::Keys;
use crate::model::families::names::{Names, Packing};
use crate::model::families::{activation, plain};

pub(super) fn describe(keys: &Keys<'_>) -> Result<(GptConfig, Names), CheckpointError> {
    let n_head = keys.size("n_head")?.unwrap_or(12);
    let positions = keys.required("n_positions")?;
    let shape = GptShape {
        sequence_len: positions,
        vocab_size: keys.required("vocab_size")?,
        n_layer: keys.required("n_layer")?,
        n_head,
        n_kv_head: n_head,
        n_embd: keys.required("n_embd")?,
    };
    let d_mlp = keys.size("n_inner")?.unwrap_or(shape.n_embd.saturating_mul(4));
    let epsilon = keys.positive("layer_norm_epsilon")?.unwrap_or(1e-5);
    let mut config = plain(shape, keys.head_dim(&shape)?, d_mlp, epsilon);
    config.norm.kind = NormKind::LayerNorm;
    config.embedding.positions = Some(positions);
    config.attention.qkv_bias = true;
    config.attention.out_bias = true;
    config.mlp.bias = true;
    config.mlp.gated = false;
    config.mlp.activation = activation(keys, "activation_function", Activation::GeluTanh)?;
    config.tied = keys.flag("tie_word_embeddings")?.unwrap_or(true);
    keys.only("scale_attn_weights", true)?;
    keys.only("scale_attn_by_inverse_layer_idx", false)?;
    let names = Names {
        root: "transformer.".to_owned(),
        outside: &[
            ("transformer.wte.weight", "wte.weight"),
            ("transformer.wpe.weight", "wpe.weight"),
            ("transformer.ln_f.weight", "ln_f.weight"),
            ("transformer.ln_f.bias", "ln_f.bias"),
            ("lm_head.weight", "lm_head.weight"),
        ],
        blocks: "h",
        parts: &[
            ("attn.c_q", "attn.c_attn"),
            ("attn.c_k", "attn.c_attn"),
            ("attn.c_v", "attn.c_attn"),
        ],
        packing: Packing::SideBySide,
        transposed: true,
        one_plus: false,
        tied: false,
        ignored: &[".attn.bias", ".attn.masked_bias"],
    };
    Ok((config, names))
}
