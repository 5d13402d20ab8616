//! nanoscope's own JSON format of a tokenizer, readable and free of code.
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
//! `tokens[id]` is the token with this id, or `null` if it is a special token. In the text of a token,
//! `\\` is a backslash and `\xNN` a byte that is not part of a printable character.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bpe::{Engine, Tokenizer, TokenizerParts};
use crate::error::TokenizerError;
use crate::escape::{escape, unescape};
use crate::limits::TokenId;

/// The value of the key `format`.
pub const JSON_FORMAT: &str = "nanoscope-tokenizer";

/// The version of the format: the one written, and the only one read.
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
    /// Writes this tokenizer as JSON, which [`from_json`](Self::from_json) reads; a family's tokenizer in
    /// Hugging Face's format, which [`from_hugging_face_json`](Self::from_hugging_face_json) reads.
    ///
    /// An object with the keys `format` ([`JSON_FORMAT`]), `version` ([`JSON_VERSION`]), `pattern`,
    /// `tokens` (an array by id, `null` for a special token) and `special_tokens` (text to id).
    /// In a token `\\` is a backslash and `\xNN` a byte that is not part of a printable character.
    ///
    /// # Panics
    ///
    /// Never: strings and numbers always serialise.
    pub fn to_json(&self) -> String {
        if let Engine::HuggingFace(engine) = &self.engine {
            return engine.to_json();
        }
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
    /// [`TokenizerError::Json`] for JSON of another shape, including unknown keys; the other `Json`
    /// variants; and every error of [`Tokenizer::new`].
    pub fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let file: TokenizerFile =
            serde_json::from_str(json).map_err(|source| TokenizerError::Json { source })?;
        if file.format != JSON_FORMAT {
            return Err(TokenizerError::JsonFormat { found: file.format, expected: JSON_FORMAT });
        }
        if file.version != JSON_VERSION {
            return Err(TokenizerError::JsonVersion {
                found: file.version,
                expected: JSON_VERSION,
            });
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
