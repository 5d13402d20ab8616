//! Errors about a description in the keys of the file that it was read from.

use nanoscope_transformer::ConfigError;

/// Renames the keys in `error` by `key`.
pub(crate) fn with_keys(
    error: ConfigError,
    key: impl Fn(&'static str) -> &'static str,
) -> ConfigError {
    match error {
        ConfigError::Size { field, found, max } => {
            ConfigError::Size { field: key(field), found, max }
        }
        ConfigError::Number { field, found, needed } => {
            ConfigError::Number { field: key(field), found, needed }
        }
        ConfigError::NotAMultiple { field, found, of_field, of } => {
            ConfigError::NotAMultiple { field: key(field), found, of_field: key(of_field), of }
        }
        other => other,
    }
}

/// The key that transformers has for most families, for a key of ours.
pub(crate) fn transformers_key(ours: &'static str) -> &'static str {
    match ours {
        "sequence_len" => "max_position_embeddings",
        "n_layer" => "num_hidden_layers",
        "n_head" => "num_attention_heads",
        "n_kv_head" => "num_key_value_heads",
        "n_embd" => "hidden_size",
        "d_mlp" => "intermediate_size",
        "norm_epsilon" => "rms_norm_eps",
        "softcap" => "final_logit_softcapping",
        "rope_base" => "rope_theta",
        same => same,
    }
}
