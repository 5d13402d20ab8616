//! Encoding of the texts that a user types.

use anyhow::Result;
use clap::Args;
use nanoscope_tokenizer::Tokenizer;

use crate::terminal::messages::note;

/// The flag for special tokens in a text.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SpecialTokensArg {
    /// Read special tokens in the text, such as <|user_start|>, as tokens instead of plain text
    #[arg(long)]
    pub(crate) special_tokens: bool,
}

/// Encodes a text as the start of a document, with one `<|bos|>` in front.
pub(crate) fn encode_document(
    tokenizer: &Tokenizer,
    text: &str,
    special: SpecialTokensArg,
) -> Result<Vec<u32>> {
    let mut ids = tokenizer.encode_with_bos("")?;
    ids.extend(encode_text(tokenizer, text, special)?);
    Ok(ids)
}

/// Encodes a text without the `<|bos|>` in front, even if the text begins with it.
pub(crate) fn encode_text(
    tokenizer: &Tokenizer,
    text: &str,
    special: SpecialTokensArg,
) -> Result<Vec<u32>> {
    if !special.special_tokens {
        note_special_tokens(tokenizer, text);
    }
    encode_unnoted(tokenizer, text, special)
}

/// As [`encode_text`], but prints no note.
pub(crate) fn encode_unnoted(
    tokenizer: &Tokenizer,
    text: &str,
    special: SpecialTokensArg,
) -> Result<Vec<u32>> {
    if !special.special_tokens {
        return Ok(tokenizer.encode(text)?);
    }
    let mut ids = tokenizer.encode_with_special_tokens(text)?;
    if ids.first().is_some_and(|&id| Some(id) == tokenizer.bos()) {
        ids.remove(0);
    }
    Ok(ids)
}

/// Prints a note if the text has spellings of special tokens, which are read as plain text.
fn note_special_tokens(tokenizer: &Tokenizer, text: &str) {
    let found = tokenizer.special_tokens_in(text);
    if !found.is_empty() {
        note(&format!(
            "{}; --special-tokens reads special tokens",
            read_as_text(&found.join(", "))
        ));
    }
}

/// Prints a note if a message of a conversation has spellings of special tokens, which are always plain
/// text in it.
pub(crate) fn note_message(tokenizer: &Tokenizer, message: &str) {
    let found = tokenizer.special_tokens_in(message);
    if !found.is_empty() {
        note(&read_as_text(&found.join(", ")));
    }
}

/// Says that special tokens, joined by commas, were read as plain text.
pub(crate) fn read_as_text(special_tokens: &str) -> String {
    format!("{special_tokens} in the text: read as plain text")
}
