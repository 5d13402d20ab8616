//! Our own file form of a tokenizer, readable and without any code in it.
//!
//! ```json
//! {
//!   "format": "nanoscope-tokenizer",
//!   "version": 1,
//!   "pattern": "\\w+|\\W+",
//!   "tokens": ["\\x00", "\\x01", "...", "the", null],
//!   "special_tokens": {"<|bos|>": 257}
//! }
//! ```
//!
//! `tokens[id]` is the token with this id, or `null` where the id is a special token's. A token's
//! text stands as it is, apart from `\\` for a backslash and `\xNN` for a byte that is no printable
//! character or no part of one.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::bpe::{TokenId, Tokenizer, TokenizerParts};
use crate::error::TokenizerError;

/// What the key `format` says in a tokenizer of this form.
pub const JSON_FORMAT: &str = "nanoscope-tokenizer";

/// The version of the form that is written, and the only one that is read.
pub const JSON_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerFile {
    format: String,
    version: u32,
    pattern: String,
    tokens: Vec<Option<String>>,
    special_tokens: BTreeMap<String, TokenId>,
}

impl Tokenizer {
    /// Writes this tokenizer as JSON, which [`from_json`](Self::from_json) reads.
    ///
    /// An object with the keys `format` ([`JSON_FORMAT`]), `version` ([`JSON_VERSION`]), `pattern`,
    /// `tokens` (an array by id, `null` for a special token) and `special_tokens` (text to id).
    /// In a token `\\` is a backslash and `\xNN` a byte that is not part of a printable character.
    ///
    /// # Panics
    ///
    /// Never: strings and numbers always serialise.
    pub fn to_json(&self) -> String {
        let ids = 0..self.vocab_size() as TokenId;
        let file = TokenizerFile {
            format: JSON_FORMAT.to_owned(),
            version: JSON_VERSION,
            pattern: self.pattern().to_owned(),
            tokens: ids
                .map(|id| match self.token_bytes(id) {
                    Some(bytes) if !self.is_special(id) => Some(escape(bytes)),
                    _ => None,
                })
                .collect(),
            special_tokens: self.special_tokens().iter().cloned().collect(),
        };
        serde_json::to_string_pretty(&file).expect("strings and numbers always serialise")
    }

    /// Reads a tokenizer from the JSON of [`to_json`](Self::to_json).
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Json`] for text of another shape, an unknown key included, and every error
    /// of [`Tokenizer::new`].
    pub fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let file: TokenizerFile =
            serde_json::from_str(json).map_err(|source| TokenizerError::Json { source })?;
        if file.format != JSON_FORMAT {
            return Err(TokenizerError::JsonFormat { found: file.format });
        }
        if file.version != JSON_VERSION {
            return Err(TokenizerError::JsonVersion { found: file.version });
        }

        let special_tokens: Vec<_> = file.special_tokens.into_iter().collect();
        let mut holes: Vec<_> = special_tokens.iter().map(|&(_, id)| id as usize).collect();
        holes.sort_unstable();
        let mut ranks = Vec::with_capacity(file.tokens.len());
        for (id, token) in file.tokens.into_iter().enumerate() {
            match token {
                Some(text) => {
                    let bytes = unescape(&text).ok_or(TokenizerError::JsonEscape { id })?;
                    ranks.push((bytes, id as TokenId));
                }
                None if holes.binary_search(&id).is_ok() => {}
                None => return Err(TokenizerError::JsonHole { id }),
            }
        }
        Self::new(TokenizerParts { pattern: file.pattern, ranks, special_tokens })
    }
}

/// Printable text of any bytes, which [`unescape`] turns back into the same bytes.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                text.push_str("\\\\");
            } else if is_printable(character) {
                text.push(character);
            } else {
                let mut buffer = [0; 4];
                escape_bytes(character.encode_utf8(&mut buffer).as_bytes(), &mut text);
            }
        }
        escape_bytes(chunk.invalid(), &mut text);
    }
    text
}

fn escape_bytes(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail");
    }
}

/// Whether the character shows as itself. `escape_debug` knows what does not: controls, unassigned
/// characters, combining marks and every space but the plain one.
fn is_printable(character: char) -> bool {
    matches!(character, '"' | '\'') || character.escape_debug().count() == 1
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                bytes.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
                after
            }
            (b'\\', _) => return None,
            _ => {
                bytes.push(byte);
                after
            }
        };
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_readable_where_the_bytes_are() {
        let cases: [(&[u8], &str); 6] = [
            (b" the", " the"),
            (b"\n\\x", "\\x0a\\\\x"),
            ("é“".as_bytes(), "é“"),
            (b"\xe4\xbd", "\\xe4\\xbd"),
            (b"a\xffb", "a\\xffb"),
            ("\u{200b}\"'".as_bytes(), "\\xe2\\x80\\x8b\"'"),
        ];
        for (bytes, text) in cases {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn a_backslash_that_starts_no_escape_is_refused() {
        for text in ["\\", "\\n", "\\x", "\\x4", "\\xg0", "\\x+1"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
