//! Text into tokens, tokens into activations: corpora, contexts, activation stores.

mod context;
mod documents;
mod error;
mod json_lines;
mod lines;
mod parquet_text;
mod plain_text;
mod segments;
mod source;
mod special;
mod tokens;

pub use context::Context;
pub use documents::{Document, Documents, LONGEST_TEXT};
pub use error::CorpusError;
pub use segments::{InMemory, Rows, Segments};
pub use source::{Corpus, CorpusOptions, Source};
pub use special::Special;
pub use tokens::{SpoolOptions, Spooled, Tokens};
