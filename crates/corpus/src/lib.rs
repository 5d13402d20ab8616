//! Text into tokens, tokens into activations: corpora, contexts, activation stores.
//!
//! A [`Corpus`] is files of text, [`Tokens`] are its tokens in contexts of equal length, and
//! [`LiveSegments`] a model's activations on them as they are asked for. A [`Collection`] writes
//! these to a folder, which an [`ActivationStore`] reads. Both are [`Segments`], so that training on
//! the one is training on the other.
//!
//! All of it streams: a corpus may be larger than memory, and of a store one shard is read at a
//! time. What the activations are used for is others' business.

mod collection;
mod contained;
mod context;
mod digest;
mod documents;
mod error;
mod json_lines;
mod lines;
mod live;
mod manifest;
mod origins;
mod parquet_text;
mod plain_text;
mod segments;
mod source;
mod special;
mod store;
mod tokens;

pub use collection::{Collection, free};
pub use context::Context;
pub use digest::{file_sha256, files_sha256, text_sha256};
pub use documents::{Document, Documents, LONGEST_TEXT};
pub use error::CorpusError;
pub use live::{LiveSegments, contexts_in, widths};
pub use manifest::{HookWidth, Part, Settings, SourceFacts, TextFacts};
pub use origins::Origins;
pub use segments::{InMemory, Rows, Segments};
pub use source::{Corpus, CorpusOptions, Source};
pub use special::Special;
pub use store::ActivationStore;
pub use tokens::{SpoolOptions, Spooled, Tokens};
