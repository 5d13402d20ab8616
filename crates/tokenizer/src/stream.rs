//! Decoding of ids that arrive one at a time.

use crate::bpe::Tokenizer;
use crate::error::TokenizerError;
use crate::hugging_face::Pieces;
use crate::limits::TokenId;

/// Decodes a stream of ids to whole characters.
///
/// A token can end in the middle of a character, whose first bytes are then kept until the rest
/// arrives. The concatenated output is the same as [`Tokenizer::decode`] of all the ids.
///
/// ```
/// # use nanoscope_tokenizer::{Tokenizer, TokenizerError, TokenizerParts};
/// # fn main() -> Result<(), TokenizerError> {
/// # let tokenizer = Tokenizer::new(TokenizerParts {
/// #     pattern: r"\w+|\W+".to_owned(),
/// #     ranks: (0..=255u8).map(|byte| (vec![byte], byte.into())).collect(),
/// #     special_tokens: Vec::new(),
/// # })?;
/// let mut stream = tokenizer.stream();
///
/// assert_eq!(stream.push(0xc3)?, "");
/// assert_eq!(stream.push(0xa9)?, "é");
/// assert_eq!(stream.finish(), "");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The bytes of an incomplete character, at most three between calls; or, in a family with byte
    /// fallback, of a run of byte tokens, which its decoder takes as a whole.
    pending: Vec<u8>,
    /// Number of spaces that are still dropped at the start.
    stripped: usize,
}

impl Tokenizer {
    /// Starts decoding a stream of ids.
    pub fn stream(&self) -> StreamDecoder<'_> {
        let stripped = match self.text_pieces() {
            Some(&Pieces::Text { stripped, .. }) => stripped,
            _ => 0,
        };
        StreamDecoder { tokenizer: self, pending: Vec::new(), stripped }
    }

    /// Starts decoding a stream of ids that goes on from a prompt. It differs from
    /// [`stream`](Self::stream) where a family's decoder drops a space at the start of a text: here it
    /// parts the prompt's last word from the next.
    pub fn stream_after_prompt(&self) -> StreamDecoder<'_> {
        StreamDecoder { tokenizer: self, pending: Vec::new(), stripped: 0 }
    }
}

impl StreamDecoder<'_> {
    /// Takes one id and returns the text that is complete, which may be empty.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::UnknownToken`] for an id outside the vocabulary; the stream is unchanged.
    pub fn push(&mut self, id: TokenId) -> Result<String, TokenizerError> {
        if self.tokenizer.text_pieces().is_some() {
            return Ok(self.push_piece(id));
        }
        self.pending.extend_from_slice(self.tokenizer.known_token(id)?);
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        // `from_utf8` splits invalid bytes like `from_utf8_lossy`, and also distinguishes an error
        // from a character that may still be completed.
        while let Err(error) = str::from_utf8(rest) {
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            rest = invalid;
            let Some(length) = error.error_len() else {
                break;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[length..];
        }
        if let Ok(valid) = str::from_utf8(rest) {
            text.push_str(valid);
            rest = &[];
        }
        self.pending.drain(..self.pending.len() - rest.len());
        Ok(text)
    }

    /// Returns whether the last id ended within a character, whose bytes are kept, or within a run of
    /// byte tokens.
    pub fn is_within_character(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends the stream. Returns U+FFFD if a character is incomplete.
    #[must_use = "the last character may be in the result"]
    pub fn finish(mut self) -> String {
        if self.tokenizer.text_pieces().is_some() {
            let run = self.end_run();
            return self.strip(run);
        }
        String::from_utf8_lossy(&self.pending).into_owned()
    }

    /// Takes a piece of text, or a byte, whose run ends with the next piece of text.
    fn push_piece(&mut self, id: TokenId) -> String {
        if let Some(byte) = self.tokenizer.fallback_byte(id) {
            self.pending.push(byte);
            return String::new();
        }
        // As in `tokenizers`, an id without a token is passed over and does not end a run.
        let Some(piece) = self.tokenizer.token_bytes(id) else {
            return String::new();
        };
        let mut text = self.end_run();
        text.push_str(&String::from_utf8_lossy(piece));
        self.strip(text)
    }

    /// The text of a run of bytes. If it is not UTF-8, each byte is U+FFFD.
    fn end_run(&mut self) -> String {
        let run = std::mem::take(&mut self.pending);
        let bytes = run.len();
        String::from_utf8(run)
            .unwrap_or_else(|_| String::from(char::REPLACEMENT_CHARACTER).repeat(bytes))
    }

    fn strip(&mut self, text: String) -> String {
        let mut rest = text.as_str();
        while self.stripped > 0
            && let Some(stripped) = rest.strip_prefix(' ')
        {
            rest = stripped;
            self.stripped -= 1;
        }
        if !rest.is_empty() {
            self.stripped = 0;
        }
        rest.to_owned()
    }
}
