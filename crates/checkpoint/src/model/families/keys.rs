//! Typed access to the keys of a `config.json`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use nanoscope_transformer::GptShape;
use serde_json::{Map, Value};

use crate::error::CheckpointError;
use crate::python_json;

/// The keys of a configuration, which records those that are read, so that
/// [`finish`](Self::finish) finds the others.
pub(super) struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'static str>>,
}

/// Keys without effect on a forward pass: options of training, generation, classifiers, images and
/// output, and the program and number type that the file was written with.
const HARMLESS_KEYS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "_num_labels",
    "_sliding_window_pattern",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "boi_token_index",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eoi_token_index",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "image_token_index",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "max_window_layers",
    "min_length",
    "mm_tokens_per_image",
    "model_max_length",
    "n_ctx",
    "n_special",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "sliding_window_size",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_return_dict",
    "vision_config",
];

impl<'a> Keys<'a> {
    /// Reads the keys of `map`, which is in the file at `path`.
    pub(super) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self { path, map, read: RefCell::default() }
    }

    /// The value of `key`, unless it is absent or null.
    pub(super) fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Returns whether there is no key at all.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Returns whether `key` is there, if only as null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The size under `key`, unless it is absent or null.
    pub(super) fn size(&self, key: &'static str) -> Result<Option<usize>, CheckpointError> {
        self.value(key, "a whole number from 0 on")
    }

    /// The size under `key`.
    pub(super) fn required(&self, key: &'static str) -> Result<usize, CheckpointError> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    /// The head dimension of a model whose heads divide its width.
    pub(super) fn head_dim(&self, shape: &GptShape) -> Result<usize, CheckpointError> {
        let invalid = |source| CheckpointError::Config { path: self.path.to_owned(), source };
        shape.validate().and_then(|()| shape.head_dim()).map_err(invalid)
    }

    /// The error of a key that has to be there.
    pub(super) fn missing(&self, key: &'static str) -> CheckpointError {
        CheckpointError::MissingKey { path: self.path.to_owned(), key }
    }

    /// The number under `key`, unless it is absent or null.
    pub(super) fn number(&self, key: &'static str) -> Result<Option<f64>, CheckpointError> {
        self.value(key, "a number")
    }

    /// The number under `key`, which has to be positive, unless it is absent or null.
    pub(super) fn positive(&self, key: &'static str) -> Result<Option<f64>, CheckpointError> {
        match self.number(key)? {
            Some(number) if !is_positive(number as f32) => {
                Err(self.unknown(key, &python_json::number(number), "a positive number of 32 bits"))
            }
            number => Ok(number),
        }
    }

    /// The number of key and value heads, of which null makes as many as heads.
    pub(super) fn kv_heads(&self, n_head: usize, default: usize) -> Result<usize, CheckpointError> {
        let key = "num_key_value_heads";
        let default = if self.has(key) { n_head } else { default };
        Ok(self.size(key)?.unwrap_or(default))
    }

    /// The flag under `key`, unless it is absent or null.
    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, CheckpointError> {
        self.value(key, "true or false")
    }

    /// The text under `key`, unless it is absent or null.
    pub(super) fn text(&self, key: &'static str) -> Result<Option<&'a str>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(found) => Err(self.unknown(key, found, "a text")),
        }
    }

    /// The list of texts under `key`, unless it is absent or null.
    pub(super) fn texts(&self, key: &'static str) -> Result<Option<Vec<String>>, CheckpointError> {
        self.value(key, "a list of texts")
    }

    /// The object under `key`, unless it is absent or null.
    pub(super) fn object(&self, key: &'static str) -> Result<Option<Self>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self::new(self.path, map))),
            Some(found) => Err(self.unknown(key, found, "an object")),
        }
    }

    /// Checks that the flag under `key`, if it is there, is `expected`, the only value supported.
    pub(super) fn only(&self, key: &'static str, expected: bool) -> Result<(), CheckpointError> {
        match self.flag(key)? {
            Some(found) if found != expected => {
                let known = if expected { "true" } else { "false" };
                Err(self.unknown(key, &Value::Bool(found), known))
            }
            _ => Ok(()),
        }
    }

    /// Checks that every key was read or has no effect.
    pub(super) fn finish(&self) -> Result<(), CheckpointError> {
        let read = self.read.borrow();
        let known = |key: &str| read.contains(key) || HARMLESS_KEYS.contains(&key);
        match self.map.iter().find(|(key, value)| !value.is_null() && !known(key)) {
            Some((key, _)) => {
                Err(CheckpointError::UnknownKey { path: self.path.to_owned(), key: key.clone() })
            }
            None => Ok(()),
        }
    }

    /// The error of a key whose value is not supported.
    pub(super) fn unknown(
        &self,
        key: &'static str,
        found: &Value,
        known: &'static str,
    ) -> CheckpointError {
        let found = python_json::unmarked(found.clone());
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        let found = text.chars().take(80).collect();
        CheckpointError::UnknownValue { path: self.path.to_owned(), key, found, known }
    }

    fn value<T: serde::de::DeserializeOwned>(
        &self,
        key: &'static str,
        known: &'static str,
    ) -> Result<Option<T>, CheckpointError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        python_json::from_value(value.clone())
            .map(Some)
            .map_err(|_| self.unknown(key, value, known))
    }
}

fn is_positive(number: f32) -> bool {
    number.is_finite() && number >= f32::MIN_POSITIVE
}
