//! Reads documents from JSON lines.

use super::found::Found;
use super::json_text::text_of;
use super::lines::Lines;
use crate::CorpusError;

/// The texts of the values on each line.
pub(crate) struct JsonLines {
    lines: Lines,
    column: String,
}

impl JsonLines {
    pub(crate) fn new(lines: Lines, column: &str) -> Self {
        Self { lines, column: column.to_owned() }
    }

    /// Returns the next text. Blank lines are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, CorpusError> {
        loop {
            return match self.lines.next() {
                Ok(None) => Ok(None),
                Ok(Some(line)) if line.trim().is_empty() => continue,
                Ok(Some(line)) => Ok(Some(self.text(&line))),
                Err(error @ CorpusError::NotUtf8 { .. }) => Ok(Some(Found::Odd(error))),
                Err(error) => Err(error),
            };
        }
    }

    fn text(&self, line: &str) -> Found {
        let (path, number) = (self.lines.path(), self.lines.number());
        // Without its end, an error in a line is never placed on the next one.
        text_of(line.trim_end().as_bytes(), path, &self.column, (number, 1))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;
    use crate::text::found;

    fn found(lines: &str, column: &str) -> Vec<Result<String, String>> {
        let reader = Box::new(Cursor::new(lines.as_bytes().to_vec()));
        let mut lines = JsonLines::new(Lines::new(reader, Path::new("a.jsonl"), 1000), column);
        found::tests::texts(|| lines.next()).unwrap()
    }

    #[test]
    fn the_text_is_what_is_under_the_key_wherever_that_stands() {
        let lines =
            "{\"n\": [1, {\"text\": 2}], \"text\": \"o\\nne\"}\n\n{\"text\": \"two\"}\n\"three\"";

        assert_eq!(found(lines, "text"), ["o\nne", "two", "three"].map(|text| Ok(text.to_owned())));
    }

    #[test]
    fn a_line_that_has_no_text_is_named_with_its_column_in_the_file() {
        for (line, says) in [
            (
                "{\"story\": 1, \"id\": 2}",
                "line 2 of a.jsonl has no field `text` (found `story`, `id`)",
            ),
            ("{\"text\": null}", "line 2 of a.jsonl has no text: `text` is null"),
            (
                "{\"text\": 1}",
                "could not read line 2, column 10 of a.jsonl: invalid type: integer `1`, expected a string",
            ),
            ("[\"text\"]", "expected a string, or an object with a string `text`"),
            ("{\"text\": \"a\"", "EOF while parsing an object"),
            ("{\"text\": \"a\"} {}", "line 2, column 15 of a.jsonl: trailing characters"),
            ("{\"text\": \"a\", \"text\": \"b\"}", "duplicate key `text`"),
            ("{\"text\": \"\\ud83d\"}", "line 2, column "),
            (&"[".repeat(500), "expected a string, or an object"),
        ] {
            let found = found(&format!("{{\"text\": \"\"}}\n{line}\n"), "text");
            let error = found[1].clone().unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
            assert_eq!(found.len(), 2, "{line}");
        }
    }
}
