//! Models of other families in the layout of Hugging Face's transformers.
//!
//! A family is a function from its `config.json` to the description of a model, and a table of its
//! weights' names.

mod gemma;
mod gpt2;
mod gpt_neox;
mod keys;
mod llama;
mod names;
mod rope;

use std::fmt;
use std::path::Path;

use nanoscope_transformer::{
    Activation, AttentionConfig, EmbeddingConfig, GptConfig, GptShape, LayerConfig, MlpConfig,
    NormConfig, NormKind, QkNorm, ResidualMix,
};
use serde_json::{Map, Value, json};

use crate::error::CheckpointError;
use crate::model::families::keys::Keys;
pub(crate) use crate::model::families::names::{Names, Part, Stored};
use crate::model::file_keys::{transformers_key, with_keys};

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// OpenAI's GPT-2.
    Gpt2,
    /// EleutherAI's GPT-NeoX, which Pythia's models are.
    GptNeoX,
    /// Meta's Llama 1 to 3.
    Llama,
    /// Mistral AI's Mistral.
    Mistral,
    /// Google's Gemma 1.
    Gemma,
    /// Google's Gemma 2.
    Gemma2,
    /// Google's Gemma 3, its text model.
    Gemma3,
    /// Alibaba's Qwen 2 and 2.5.
    Qwen2,
    /// Alibaba's Qwen 3.
    Qwen3,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 9] = [
        Self::Gpt2,
        Self::GptNeoX,
        Self::Llama,
        Self::Mistral,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3,
        Self::Qwen2,
        Self::Qwen3,
    ];

    /// The values of `model_type` in `config.json`.
    fn model_types(self) -> &'static [&'static str] {
        match self {
            Self::Gpt2 => &["gpt2"],
            Self::GptNeoX => &["gpt_neox"],
            Self::Llama => &["llama"],
            Self::Mistral => &["mistral"],
            Self::Gemma => &["gemma"],
            Self::Gemma2 => &["gemma2"],
            Self::Gemma3 => &["gemma3_text", "gemma3"],
            Self::Qwen2 => &["qwen2"],
            Self::Qwen3 => &["qwen3"],
        }
    }

    /// The value of `model_type` that stands for the family in our own files.
    pub(crate) fn model_type(self) -> &'static str {
        self.model_types()[0]
    }

    /// The family whose `config.json` has this `model_type`.
    pub(crate) fn of_model_type(model_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_types().contains(&model_type))
    }

    /// Describes the model with this configuration, which is in the file at `path`.
    ///
    /// # Errors
    /// [`CheckpointError`], which names the key.
    pub(crate) fn describe(
        self,
        path: &Path,
        config: &Map<String, Value>,
    ) -> Result<(GptConfig, Names), CheckpointError> {
        self.describe_in_our_keys(path, config).map_err(|error| match error {
            CheckpointError::Config { path, source } => {
                let source = with_keys(source, |ours| self.key(ours));
                CheckpointError::Config { path, source }
            }
            other => other,
        })
    }

    /// Describes the model; an error about our description has our keys.
    fn describe_in_our_keys(
        self,
        path: &Path,
        config: &Map<String, Value>,
    ) -> Result<(GptConfig, Names), CheckpointError> {
        let keys = Keys::new(path, config);
        keys.text("model_type")?;
        if let Some(quantization) = keys.get("quantization_config") {
            return Err(keys.unknown("quantization_config", quantization, "no quantization"));
        }
        keys.only("add_cross_attention", false)?;
        if let Some(pruned) = keys.get("pruned_heads").filter(|heads| **heads != json!({})) {
            return Err(keys.unknown("pruned_heads", pruned, "{}"));
        }
        let (config, names) = match self {
            Self::Gpt2 => gpt2::describe(&keys)?,
            Self::GptNeoX => gpt_neox::describe(&keys)?,
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 => {
                llama::describe(self, &keys)?
            }
            Self::Gemma | Self::Gemma2 | Self::Gemma3 => gemma::describe(self, &keys)?,
        };
        keys.finish()?;
        config
            .validate()
            .map_err(|source| CheckpointError::Config { path: path.to_owned(), source })?;
        Ok((config, names))
    }

    /// The key in `config.json` for a key of ours.
    fn key(self, ours: &'static str) -> &'static str {
        match (self, ours) {
            (Self::Gpt2, "sequence_len") => "n_positions",
            (Self::Gpt2, "d_mlp") => "n_inner",
            (Self::Gpt2, same) => same,
            (_, ours) => transformers_key(ours),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt2 => "GPT-2",
            Self::GptNeoX => "GPT-NeoX",
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
            Self::Gemma => "Gemma",
            Self::Gemma2 => "Gemma 2",
            Self::Gemma3 => "Gemma 3",
            Self::Qwen2 => "Qwen 2",
            Self::Qwen3 => "Qwen 3",
        })
    }
}

/// Every value of `model_type` that is supported.
const MODEL_TYPES: &str = "nanochat, gpt2, gpt_neox, llama, mistral, gemma, gemma2, gemma3, \
                           gemma3_text, qwen2 or qwen3";

/// The supported values of `model_type`, for messages.
pub(crate) fn model_types() -> &'static str {
    MODEL_TYPES
}

/// Describes a model with the parts that most families share: RMS norms with gains, a gated MLP with
/// SiLU, full attention over the whole context, no biases, no rotary embedding.
fn plain(shape: GptShape, head_dim: usize, d_mlp: usize, epsilon: f64) -> GptConfig {
    GptConfig {
        padded_vocab_size: shape.vocab_size,
        embedding: EmbeddingConfig { scale: None, positions: None, normed: false },
        norm: NormConfig { kind: NormKind::RmsGain, epsilon: epsilon as f32 },
        attention: AttentionConfig {
            head_dim,
            qk_norm: QkNorm::None,
            score_scale: 1.0 / (head_dim as f32).sqrt(),
            score_softcap: None,
            qkv_bias: false,
            out_bias: false,
        },
        ropes: Vec::new(),
        layers: vec![LayerConfig { window: None, rope: 0 }; shape.n_layer.min(MAX_LAYERS)],
        mlp: MlpConfig { d_mlp, activation: Activation::Silu, gated: true, bias: false },
        parallel: false,
        post_norms: false,
        tied: false,
        softcap: None,
        residual: ResidualMix::Plain,
        value_embeds: None,
        bigram: false,
        smear: false,
        backout: false,
        max_positions: shape.sequence_len,
        shape,
    }
}

/// More layers than any configuration may have, which is checked after its description.
const MAX_LAYERS: usize = 1 << 13;

/// Parses the name of an activation function.
fn activation(
    keys: &Keys<'_>,
    key: &'static str,
    default: Activation,
) -> Result<Activation, CheckpointError> {
    Ok(match keys.text(key)? {
        None => default,
        Some("gelu") => Activation::Gelu,
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Activation::GeluTanh,
        Some("silu" | "swish") => Activation::Silu,
        Some(other) => {
            let known = "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh or silu";
            return Err(keys.unknown(key, &other.into(), known));
        }
    })
}

/// Reads `layer_types`: for each layer, whether it has the window, which the file has to have then.
/// `default` answers for a file without them.
fn windowed_layers(
    keys: &Keys<'_>,
    n_layer: usize,
    window: Option<usize>,
    default: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, CheckpointError> {
    let n_layer = n_layer.min(MAX_LAYERS);
    let Some(types) = keys.texts("layer_types")? else {
        return Ok((0..n_layer).map(default).collect());
    };
    if types.len() != n_layer {
        let found = types.len().into();
        return Err(keys.unknown("layer_types", &found, "as many as num_hidden_layers"));
    }
    let windowed = |kind: &String| match kind.as_str() {
        "sliding_attention" if window.is_none() => {
            let known = "full_attention, as no sliding_window is used";
            Err(keys.unknown("layer_types", &kind.as_str().into(), known))
        }
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => {
            let known = "sliding_attention or full_attention";
            Err(keys.unknown("layer_types", &other.into(), known))
        }
    };
    types.iter().map(windowed).collect()
}

/// Converts transformers' window, in which a query sees that many keys with itself, to ours, which
/// counts the keys before it.
fn window(keys: &Keys<'_>, default: Option<usize>) -> Result<Option<usize>, CheckpointError> {
    let window = match keys.size("sliding_window")? {
        None if keys.has("sliding_window") => None,
        None => default,
        found => found,
    };
    match window {
        Some(0) => Err(keys.unknown("sliding_window", &0.into(), "at least 1, or null")),
        window => Ok(window.map(|window| window - 1)),
    }
}
