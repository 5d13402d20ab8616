//! The texts of a corpus: its files, and the documents in them.

mod binary;
mod corpus;
mod csv_text;
mod documents;
mod found;
mod json_document;
mod json_lines;
mod json_reader;
mod json_text;
mod lines;
mod options;
mod parquet;
mod plain_text;
mod recognise;
mod text_file;

pub use corpus::Corpus;
pub use documents::{Document, Documents};
pub use found::PassedOver;
pub use options::{CorpusOptions, MAX_TEXT_BYTES};
pub use text_file::{TextFile, is_text_name};
