//! The tokens of a corpus, in contexts of equal length.

mod context;
mod special;
mod tokenized_corpus;

pub use context::Context;
pub use special::Special;
pub use tokenized_corpus::{SpoolOptions, Spooled, Tokens};
