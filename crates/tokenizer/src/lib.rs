//! Tokenizers of nanochat and other families, and rendering of conversations.
//!
//! A [`Tokenizer`] turns text into the ids that a model was trained on and back. nanochat's ids come
//! from tiktoken's own engine, which nanochat uses too, and those of other families from Hugging
//! Face's `tokenizers`, so they agree by construction. [`Tokenizer::render_conversation`] renders a
//! conversation with nanochat's special tokens or with the family's [`ChatTemplate`], and a
//! [`StreamDecoder`] turns ids that arrive one at a time into text without splitting a character.
//!
//! ```
//! use nanoscope_tokenizer::{Tokenizer, TokenizerParts};
//!
//! # fn main() -> Result<(), nanoscope_tokenizer::TokenizerError> {
//! let mut ranks: Vec<(Vec<u8>, u32)> = (0..=255u8).map(|byte| (vec![byte], byte.into())).collect();
//! ranks.push((b"lo".to_vec(), 256));
//! let tokenizer = Tokenizer::new(TokenizerParts {
//!     pattern: r"\w+|\W+".to_owned(),
//!     ranks,
//!     special_tokens: vec![("<|bos|>".to_owned(), 257)],
//! })?;
//!
//! assert_eq!(tokenizer.encode("low")?, [256, 119]);
//! assert_eq!(tokenizer.encode_with_bos("low")?, [257, 256, 119]);
//! assert_eq!(tokenizer.decode(&[257, 256, 119])?, "<|bos|>low");
//! # Ok(())
//! # }
//! ```
//!
//! This crate reads no files: `nanoscope-checkpoint` reads `tokenizer.pkl`, `tokenizer.json` and the
//! files beside it. It does not train tokenizers, and does not use tensors.

mod bpe;
mod byte_level;
mod catch_panic;
mod chat_template;
mod conversation;
mod error;
mod escape;
mod family;
mod hugging_face;
mod json;
mod limits;
mod merges;
mod pattern;
mod render;
mod special_spellings;
mod special_tokens;
mod stream;

pub use bpe::{Tokenizer, TokenizerParts};
pub use byte_level::byte_of;
pub use catch_panic::catch_panic;
pub use chat_template::ChatTemplate;
pub use conversation::{
    ASSISTANT_END, ASSISTANT_START, BOS, Content, Conversation, Message, OUTPUT_END, OUTPUT_START,
    PYTHON_END, PYTHON_START, Part, Role, USER_END, USER_START,
};
pub use error::TokenizerError;
pub use json::{JSON_FORMAT, JSON_VERSION};
pub use limits::{MAX_PATTERN_BYTES, MAX_TEMPLATE_BYTES, MAX_TOKEN_BYTES, MAX_VOCAB, TokenId};
pub use merges::{Merge, MergeError, check_merges};
pub use render::{DEFAULT_MAX_TOKENS, Rendered};
pub use stream::StreamDecoder;
