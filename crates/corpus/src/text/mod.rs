//! The texts of a corpus: its files, and the documents in them.

mod catch_panic;
mod corpus;
mod documents;
mod json_lines;
mod lines;
mod parquet;
mod plain_text;
mod text_file;

pub use corpus::{Corpus, CorpusOptions};
pub use documents::{Document, Documents, MAX_TEXT_BYTES};
pub use text_file::TextFile;
