//! Tables for data frames, and the files with the features of every token.

mod args;
mod columns;
mod csv;
mod exports;
mod jsonl;
mod parquet;
mod rows;
mod table;
mod token_columns;

pub(crate) use args::ExportArgs;
pub(crate) use exports::Exports;
