//! Text into tokens, tokens into activations: corpora, contexts, activation stores.

mod context;
mod error;
mod segments;

pub use context::Context;
pub use error::CorpusError;
pub use segments::{InMemory, Rows, Segments};
