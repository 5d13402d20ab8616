//! Reads documents from plain text.

use std::mem;

use super::lines::Lines;
use crate::CorpusError;

/// The marker between two documents.
const MARKER: &str = "<|endoftext|>";

/// Size in bytes from which a document is returned in pieces.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// A document, or a piece of a long one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// True if this continues the previous piece.
    pub(crate) continued: bool,
    pub(crate) text: String,
}

/// The documents of a plain text, separated by markers, with surrounding white space removed.
///
/// A long document is returned in pieces. It is split before a line that does not begin with white
/// space: nanochat's pattern always splits there too, so the tokens are the same as for the whole
/// document.
pub(crate) struct PlainText {
    lines: Lines,
    piece: usize,
    limit: usize,
    /// Text that has been read but not yet returned.
    buffer: String,
    /// True if a piece of the current document has been returned.
    continued: bool,
    /// The rest of a line after a marker.
    rest: Option<String>,
}

impl PlainText {
    pub(crate) fn new(lines: Lines, piece: usize, limit: usize) -> Self {
        Self { lines, piece, limit, buffer: String::new(), continued: false, rest: None }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Piece>, CorpusError> {
        loop {
            let line = match self.rest.take() {
                Some(rest) => Some(rest),
                None => self.lines.next()?,
            };
            let Some(line) = line else {
                return Ok(self.end());
            };
            // Some editors begin a file with a byte order mark.
            let begins = self.lines.number() == 1 && self.buffer.is_empty() && !self.continued;
            let line = if begins { line.trim_start_matches('\u{feff}') } else { &line };
            if let Some((before, after)) = line.split_once(MARKER) {
                self.push(before)?;
                self.rest = Some(after.to_owned());
                if let Some(piece) = self.end() {
                    return Ok(Some(piece));
                }
            } else if self.buffer.len() >= self.piece && !line.starts_with(char::is_whitespace) {
                let piece = self.take();
                self.continued = true;
                self.buffer.push_str(line);
                return Ok(Some(piece));
            } else {
                self.push(line)?;
            }
        }
    }

    fn push(&mut self, text: &str) -> Result<(), CorpusError> {
        let document_begins = self.buffer.is_empty() && !self.continued;
        let text = if document_begins { text.trim_start() } else { text };
        if self.buffer.len() + text.len() > self.limit {
            return Err(self.lines.too_long());
        }
        self.buffer.push_str(text);
        Ok(())
    }

    /// Returns the rest of a document that ends here.
    fn end(&mut self) -> Option<Piece> {
        let len = self.buffer.trim_end().len();
        self.buffer.truncate(len);
        let piece = (len > 0).then(|| self.take());
        self.continued = false;
        piece
    }

    fn take(&mut self) -> Piece {
        Piece { continued: self.continued, text: mem::take(&mut self.buffer) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;

    fn pieces(text: &str, piece: usize, limit: usize) -> Result<Vec<(bool, String)>, CorpusError> {
        let reader = Cursor::new(text.as_bytes().to_vec());
        let lines = Lines::new(Box::new(reader), Path::new("a.txt"), limit);
        let mut text = PlainText::new(lines, piece, limit);
        std::iter::from_fn(|| text.next().transpose())
            .map(|piece| piece.map(|piece| (piece.continued, piece.text)))
            .collect()
    }

    #[test]
    fn markers_divide_documents_wherever_they_stand() {
        let text = "\u{feff}\n one\n\ntwo \n<|endoftext|>\n<|endoftext|>three<|endoftext|> four\n";

        let found = pieces(text, PIECE_BYTES, 100).unwrap();

        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one\n\ntwo", "three", "four"]);
        assert!(found.iter().all(|(continued, _)| !continued));
    }

    #[test]
    fn a_long_document_is_cut_before_a_line_that_begins_with_text() {
        let text = "one\ntwo\n\n  three\nfour\n<|endoftext|>\nfive\n";

        let found = pieces(text, 6, 100).unwrap();

        let expected = [(false, "one\ntwo\n\n  three\n"), (true, "four"), (false, "five")];
        assert_eq!(found, expected.map(|(continued, text)| (continued, text.to_owned())));
    }

    #[test]
    fn a_text_that_ends_with_a_marker_has_no_empty_document_after_it() {
        let found = pieces("one\n<|endoftext|>\n \n", 1, 100).unwrap();

        assert_eq!(found, [(false, "one".to_owned())]);
    }

    #[test]
    fn a_stretch_that_cannot_be_cut_is_an_error_at_the_limit() {
        let text = "one\n".to_owned() + &" two\n".repeat(100);

        let error = pieces(&text, 6, 50).unwrap_err();

        assert_eq!(error.to_string(), "the text at line 11 of a.txt is longer than 50 bytes");
    }
}
