//! Tokenizers from the files that nanochat and Hugging Face write.

mod family;
mod files;
mod hugging_face;
mod nanochat;

pub(crate) use nanochat::{TOKENIZER_FILES, has_tokenizer, tokenizer_files};
pub use nanochat::{load_tokenizer, load_tokenizer_for, save_tokenizer};
