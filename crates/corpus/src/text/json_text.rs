//! The text in a JSON value: a string, or a string under a key of an object.

use std::fmt;
use std::path::Path;

use nanoscope_checkpoint::python_json;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};

use super::found::Found;
use crate::CorpusError;

/// Returns the text of a JSON value: a string, or the string under `column` in an object.
///
/// The value begins at a line and a column of the file at `path`, which an error names.
pub(crate) fn text_of(json: &[u8], path: &Path, column: &str, (line, at): (u64, u64)) -> Found {
    let (path, column) = (path.to_owned(), column.to_owned());
    match python_json::from_slice_seed(json, TextIn(&column)) {
        Ok(JsonText::Text(text)) => Found::Text { text, continued: false },
        Ok(JsonText::Null) => {
            Found::Odd(CorpusError::NullText { path, place: format!("line {line}"), column })
        }
        Ok(JsonText::Missing(found)) => {
            Found::Odd(CorpusError::NoField { path, line, column, found })
        }
        Err(error) => {
            // The error's own position is relative to the value.
            let (lines, within) = (error.line() as u64, error.column() as u64);
            let message = error.to_string();
            let suffix = format!(" at line {} column {}", error.line(), error.column());
            Found::Odd(CorpusError::Json {
                path,
                line: line + lines.saturating_sub(1),
                column: if lines <= 1 { at + within.saturating_sub(1) } else { within },
                reason: message.strip_suffix(&suffix).unwrap_or(&message).to_owned(),
            })
        }
    }
}

/// The text of a JSON value, or its absence.
#[derive(Debug)]
enum JsonText {
    /// The text.
    Text(String),
    /// Null, or an object with null under the key.
    Null,
    /// An object without the key; these keys are there.
    Missing(Vec<String>),
}

/// Deserializes the text of a value. Values under other keys are skipped without being built: a list
/// of numbers would take twenty times the size of its text.
#[derive(Clone, Copy)]
struct TextIn<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for TextIn<'_> {
    type Value = JsonText;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<JsonText, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextIn<'_> {
    type Value = JsonText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string, or an object with a string `{}`", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<JsonText, E> {
        Ok(JsonText::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<JsonText, E> {
        Ok(JsonText::Text(text))
    }

    fn visit_unit<E: Error>(self) -> Result<JsonText, E> {
        Ok(JsonText::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonText, A::Error> {
        /// Maximum keys that are collected for the error.
        const MAX_KEYS: usize = 1000;

        let (mut text, mut keys) = (None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                if text.is_some() {
                    return Err(A::Error::custom(format!("duplicate key `{key}`")));
                }
                text = Some(map.next_value::<Option<String>>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
                if keys.len() < MAX_KEYS {
                    keys.push(key);
                }
            }
        }
        Ok(match text {
            Some(Some(text)) => JsonText::Text(text),
            Some(None) => JsonText::Null,
            None => JsonText::Missing(keys),
        })
    }
}
