//! Reads documents from JSON lines.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};

use super::lines::Lines;
use crate::CorpusError;

/// The texts under one key of the object on each line.
pub(crate) struct JsonLines {
    lines: Lines,
    column: String,
}

impl JsonLines {
    pub(crate) fn new(lines: Lines, column: &str) -> Self {
        Self { lines, column: column.to_owned() }
    }

    /// Returns the next text. Blank lines are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<String>, CorpusError> {
        while let Some(line) = self.lines.next()? {
            if !line.trim().is_empty() {
                return self.text(&line).map(Some);
            }
        }
        Ok(None)
    }

    fn text(&self, line: &str) -> Result<String, CorpusError> {
        let (path, number) = (self.lines.path(), self.lines.number());
        let mut json = serde_json::Deserializer::from_str(line);
        let found = Field(&self.column).deserialize(&mut json).and_then(|found| {
            json.end()?;
            Ok(found)
        });
        match found {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(found)) => Err(CorpusError::NoField {
                path: path.to_owned(),
                line: number,
                column: self.column.clone(),
                found,
            }),
            Err(source) => {
                Err(CorpusError::JsonLine { path: path.to_owned(), line: number, source })
            }
        }
    }
}

/// Deserializes the string under a key, or the keys that are present if it is missing. Other values
/// are skipped without being built: a list of numbers would take twenty times the size of its text.
struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Result<String, Vec<String>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Result<String, Vec<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with a string `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        /// Maximum keys that are collected for the error.
        const MAX_KEYS: usize = 1000;

        let (mut text, mut keys) = (None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                if text.is_some() {
                    return Err(A::Error::custom(format!("duplicate key `{key}`")));
                }
                text = Some(map.next_value::<String>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
                if keys.len() < MAX_KEYS {
                    keys.push(key);
                }
            }
        }
        Ok(text.ok_or(keys))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;

    fn texts(lines: &str, column: &str) -> Result<Vec<String>, CorpusError> {
        let reader = Box::new(Cursor::new(lines.as_bytes().to_vec()));
        let mut lines = JsonLines::new(Lines::new(reader, Path::new("a.jsonl"), 1000), column);
        std::iter::from_fn(|| lines.next().transpose()).collect()
    }

    #[test]
    fn the_text_is_what_is_under_the_key_wherever_that_stands() {
        let lines = "{\"n\": [1, {\"text\": 2}], \"text\": \"o\\nne\"}\n\n{\"text\": \"two\"}";

        assert_eq!(texts(lines, "text").unwrap(), ["o\nne", "two"]);
    }

    #[test]
    fn a_line_that_has_no_text_is_named() {
        let error = |line: &str| {
            let error = texts(&format!("{{\"text\": \"\"}}\n{line}\n"), "text").unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            (error.to_string(), source.unwrap_or_default())
        };

        let (text, _) = error("{\"story\": 1, \"id\": 2}");
        assert_eq!(text, "line 2 of a.jsonl has no field `text` (found `story`, `id`)");
        for (line, source) in [
            ("{\"text\": 1}", "invalid type: integer `1`, expected a string"),
            ("[\"text\"]", "invalid type: sequence, expected an object with a string `text`"),
            ("{\"text\": \"a\"", "EOF while parsing an object"),
            ("{\"text\": \"a\"} {}", "trailing characters"),
            ("{\"text\": \"a\", \"text\": \"b\"}", "duplicate key `text`"),
            (&"[".repeat(500), "expected an object"),
        ] {
            let (text, found) = error(line);
            assert_eq!(text, "could not read line 2 of a.jsonl");
            assert!(found.contains(source), "{line}: {found}");
        }
    }
}
