//! Tokens that a person names.

use nanoscope_runtime::InterpretableModel;
use nanoscope_tokenizer::{Tokenizer, TokenizerError};

/// Returns the token that `text` stands for: a text that is exactly one token, the spelling of a special token, or
/// `id:N`.
///
/// # Errors
/// [`TokenError`] if the text is not one token, with the other spacing where that is one.
pub fn parse_token(model: &InterpretableModel, text: &str) -> Result<u32, TokenError> {
    if let Some(id) = text.strip_prefix("id:").and_then(|id| id.parse().ok()) {
        let vocab_size = model.gpt().config().shape.vocab_size;
        let known = (id as usize) < vocab_size;
        return if known { Ok(id) } else { Err(TokenError::Unknown { id, vocab_size }) };
    }
    let tokenizer = model.tokenizer().ok_or(TokenError::NoTokenizer)?;
    let ids = tokenizer.encode_with_special_tokens(text)?;
    match ids[..] {
        [id] => Ok(id),
        [] => Err(TokenError::Empty),
        _ => Err(TokenError::Several {
            text: text.to_owned(),
            pieces: ids.iter().take(PIECES).map(|&id| model.token_text(id)).collect(),
            count: ids.len(),
            other: other_spacing(tokenizer, text),
        }),
    }
}

/// The largest number of tokens that an error lists.
const PIECES: usize = 10;

/// A text is not one token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is empty.
    #[error("a token is not empty; give a text that is one token, or id:N")]
    Empty,
    /// The text is more than one token.
    #[error(
        "{text:?} is {count} tokens: {}{}{}",
        quoted(pieces), if *count > pieces.len() { " …" } else { "" },
        other.as_ref().map(|other| format!("; {other:?} is one")).unwrap_or_default()
    )]
    Several {
        /// The text.
        text: String,
        /// The texts of its first tokens.
        pieces: Vec<String>,
        /// The number of its tokens.
        count: usize,
        /// The text with or without a space before it, if that is one token.
        other: Option<String>,
    },
    /// An id is outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    Unknown {
        /// The id.
        id: u32,
        /// The number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A model without a tokenizer has tokens without texts.
    #[error("the model has no tokenizer; name the token by its id: id:N")]
    NoTokenizer,
    /// The text could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// `text` with a space before it, or without, if that is one token.
fn other_spacing(tokenizer: &Tokenizer, text: &str) -> Option<String> {
    let other = text.strip_prefix(' ').map_or_else(|| format!(" {text}"), str::to_owned);
    matches!(tokenizer.encode(&other).as_deref(), Ok([_])).then_some(other)
}

fn quoted(pieces: &[String]) -> String {
    pieces.iter().map(|piece| format!("{piece:?}")).collect::<Vec<_>>().join(" ")
}
