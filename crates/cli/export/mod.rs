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

pub(crate) use args::{ExportArgs, check_stdout};
pub(crate) use columns::{Columns, Nullable, RowGroup, column};
pub(crate) use exports::Exports;
pub(crate) use table::{Table, TableFormat};
