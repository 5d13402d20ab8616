//! Files with the features of every token: tables for data frames, and heat maps.

mod args;
mod csv;
mod exports;
mod jsonl;
mod parquet;
mod rows;
mod table;

pub(crate) use args::ExportArgs;
pub(crate) use exports::Exports;
