//! The complete, validated configuration of a run.

use std::fmt;
use std::path::PathBuf;

use nanoscope_hooks::HookPoint;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::config_error::ConfigError;
use super::keys;
use crate::{Recipe, TrainError};

/// Configuration of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The hook points. An SAE is trained at each.
    #[serde(with = "hook_names")]
    pub hooks: Vec<HookPoint>,
    /// Name of the backend. Default: auto.
    #[serde(default = "auto")]
    pub device: String,
    /// Source of the activations.
    pub source: ActivationsFrom,
    /// The training recipe.
    pub recipe: Recipe,
    /// Intervals of logging, evaluation and checkpoints.
    #[serde(default)]
    pub run: LoggingSettings,
}

/// The source of activations: exactly one of `text`, `store` and `activations`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ActivationsFrom {
    /// Texts on which the model is run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<PathBuf>,
    /// The field of JSON objects, or column of CSV and parquet files, that contains the text.
    /// Default: `text`.
    pub text_column: Option<String>,
    /// True if a line or row without a text is an error. Default: false.
    pub strict: Option<bool>,
    /// Maximum size of a document in bytes. Default: 16 MiB.
    pub max_document_bytes: Option<usize>,
    /// The model. Default: the built-in demo.
    pub model: Option<PathBuf>,
    /// The tokenizer's folder. Default: nanochat's location.
    pub tokenizer: Option<PathBuf>,
    /// The era of a checkpoint that fits several eras.
    pub era: Option<String>,
    /// Tokens per context. Default: the model's context length, at most 2048.
    pub context: Option<usize>,
    /// The folder of an activation store.
    pub store: Option<PathBuf>,
    /// A file with a tensor of activations.
    pub activations: Option<PathBuf>,
    /// Name of the tensor in that file.
    pub tensor: Option<String>,
}

/// Intervals of logging, evaluation and checkpoints, and the held-out data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoggingSettings {
    /// Steps between lines of `metrics.jsonl`. Default: 10.
    pub log_every: u64,
    /// Steps between evaluations on the held-out segments. Default: 100.
    pub eval_every: u64,
    /// Steps between checkpoints. Default: 250.
    pub save_every: u64,
    /// Number of checkpoints to keep. Default: 2.
    pub keep: usize,
    /// The held-out segments. Default: one in twenty, with limits for small and large sources.
    pub hold_out: Option<HoldOut>,
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self { log_every: 10, eval_every: 100, save_every: 250, keep: 2, hold_out: None }
    }
}

/// Segments of a source that are held out from training, spread evenly over it. A source of fewer than
/// twenty segments is divided further.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HoldOut {
    /// A number of segments.
    Segments(u64),
    /// A fraction of all segments, between 0 and 1 exclusive; at least one segment.
    Share(f64),
}

impl HoldOut {
    /// Number of held-out segments, out of `segments`.
    pub fn count(self, segments: u64) -> u64 {
        match self {
            Self::Segments(count) => count,
            Self::Share(share) => ((segments as f64 * share).round() as u64).max(1),
        }
    }
}

impl Serialize for HoldOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Segments(count) => serializer.serialize_u64(count),
            Self::Share(share) => serializer.serialize_f64(share),
        }
    }
}

impl<'de> Deserialize<'de> for HoldOut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = HoldOut;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of segments, or a fraction between 0 and 1")
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<HoldOut, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(count), &self);
                u64::try_from(count)
                    .ok()
                    .filter(|&n| n > 0)
                    .map(HoldOut::Segments)
                    .ok_or_else(wrong)
            }

            fn visit_f64<E: de::Error>(self, share: f64) -> Result<HoldOut, E> {
                if share > 0.0 && share < 1.0 {
                    Ok(HoldOut::Share(share))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(share), &self))
                }
            }
        }

        deserializer.deserialize_any(Number)
    }
}

impl RunConfig {
    /// Checks everything that does not depend on the activations.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.hooks.is_empty() {
            return Err(missing("hooks", "the hook points to train SAEs at"));
        }
        for (at, hook) in self.hooks.iter().enumerate() {
            if self.hooks[..at].contains(hook) {
                return Err(ConfigError::HookTwice { hook: hook.to_string() });
            }
        }
        self.source.check(self.hooks.len())?;
        check_recipe(&self.recipe, None)?;
        for (key, every) in [
            ("run.log-every", self.run.log_every),
            ("run.eval-every", self.run.eval_every),
            ("run.save-every", self.run.save_every),
            ("run.keep", self.run.keep as u64),
        ] {
            within(key, every, every > 0, "1 or more")?;
        }
        Ok(())
    }
}

impl ActivationsFrom {
    fn check(&self, hooks: usize) -> Result<(), ConfigError> {
        let sources = [
            ("source.text", !self.text.is_empty()),
            ("source.store", self.store.is_some()),
            ("source.activations", self.activations.is_some()),
        ];
        let given: Vec<_> =
            sources.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
        match given[..] {
            [] => Err(missing(
                "source.text",
                "the texts to train on; alternatives are `source.store` and `source.activations`",
            )),
            [one, other, ..] => Err(ConfigError::Both { one, other }),
            ["source.activations"] if hooks != 1 => Err(ConfigError::OneHook { found: hooks }),
            [_] => self.check_companions(),
        }
    }

    /// Checks that no key belongs to a source that is not in use.
    fn check_companions(&self) -> Result<(), ConfigError> {
        let of_text = [
            ("source.text-column", self.text_column.is_some()),
            ("source.strict", self.strict.is_some()),
            ("source.max-document-bytes", self.max_document_bytes.is_some()),
            ("source.model", self.model.is_some()),
            ("source.tokenizer", self.tokenizer.is_some()),
            ("source.era", self.era.is_some()),
            ("source.context", self.context.is_some()),
        ];
        if self.text.is_empty()
            && let Some((one, _)) = of_text.iter().find(|(_, given)| *given)
        {
            let other = if self.store.is_some() { "source.store" } else { "source.activations" };
            return Err(ConfigError::Both { one, other });
        }
        if self.tensor.is_some() && self.activations.is_none() {
            return Err(missing("source.activations", "the file that contains `source.tensor`"));
        }
        match self.context {
            Some(context) => within("source.context", context, context > 1, "2 or more"),
            None => Ok(()),
        }
    }
}

/// Checks the values of a recipe, for activations of `width` if it is known.
pub(crate) fn check_recipe(recipe: &Recipe, width: Option<usize>) -> Result<(), ConfigError> {
    match width.map_or_else(|| recipe.check_numbers(), |width| recipe.check(width)) {
        Err(TrainError::Recipe { name, found, range }) => {
            let of = |table: &str| keys::find(&format!("{table}.{name}"));
            let key = of("recipe").or_else(|| of("recipe.method")).map_or(name, |key| key.path);
            Err(ConfigError::Range { key, found, expected: range })
        }
        // A recipe has no other errors.
        _ => Ok(()),
    }
}

fn within(
    key: &'static str,
    found: impl ToString,
    possible: bool,
    expected: &str,
) -> Result<(), ConfigError> {
    if possible {
        return Ok(());
    }
    Err(ConfigError::Range { key, found: found.to_string(), expected: expected.to_owned() })
}

fn missing(key: &'static str, meaning: &'static str) -> ConfigError {
    ConfigError::Missing { key, meaning }
}

fn auto() -> String {
    "auto".to_owned()
}

mod hook_names {
    use nanoscope_hooks::HookPoint;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        hooks: &[HookPoint],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hooks.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<HookPoint>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().map(|name| name.parse().map_err(de::Error::custom)).collect()
    }
}
