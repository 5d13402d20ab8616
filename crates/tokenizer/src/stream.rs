//! Decoding of ids that arrive one at a time.

use crate::bpe::Tokenizer;
use crate::error::TokenizerError;
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
    /// The bytes of an incomplete character; at most three between calls.
    pending: Vec<u8>,
}

impl Tokenizer {
    /// Starts decoding a stream of ids.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder { tokenizer: self, pending: Vec::new() }
    }
}

impl StreamDecoder<'_> {
    /// Takes one id and returns the text that is complete, which may be empty.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::UnknownToken`] for an id outside the vocabulary; the stream is unchanged.
    pub fn push(&mut self, id: TokenId) -> Result<String, TokenizerError> {
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

    /// Returns whether the last id ended within a character, whose bytes are kept.
    pub fn is_within_character(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends the stream. Returns U+FFFD if a character is incomplete.
    #[must_use = "the last character may be in the result"]
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
