//! The tokens of a corpus, in contexts of equal length.

mod context;
mod special_tokens;
mod tokenized_corpus;

pub use context::Context;
pub use special_tokens::SpecialTokens;
pub use tokenized_corpus::{TokenizeOptions, TokenizeProgress, TokenizedCorpus};
