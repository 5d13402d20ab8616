//! A table in any of its formats.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use nanoscope_checkpoint::{OutputFile, is_stdout};

use super::columns::Columns;
use super::csv::CsvTable;
use super::jsonl::JsonlTable;
use super::parquet::ParquetTable;
use crate::terminal::messages::Hint;

/// The formats of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// Comma-separated values with a header
    Csv,
    /// Parquet, compressed with zstd
    Parquet,
    /// One JSON object per row
    Jsonl,
}

impl TableFormat {
    /// The format of a table at `path`: the one that was asked for, else the one of the extension, else
    /// CSV for stdout.
    pub(crate) fn of(path: &Path, asked: Option<Self>) -> Result<Self> {
        let extension = path.extension().map(|end| end.to_string_lossy().to_lowercase());
        let format = match (asked, extension.as_deref()) {
            (Some(format), _) => format,
            (None, Some("csv")) => Self::Csv,
            (None, Some("parquet")) => Self::Parquet,
            (None, Some("jsonl")) => Self::Jsonl,
            (None, None) if is_stdout(path) => Self::Csv,
            _ => {
                let error = format!(
                    "the extension of the table {} is not .csv, .parquet or .jsonl",
                    path.display()
                );
                let hint =
                    "choose one of them, or name the format: --table-format csv|parquet|jsonl";
                return Err(Hint::new(error, hint).into());
            }
        };
        if format == Self::Parquet && is_stdout(path) && io::stdout().is_terminal() {
            let hint = "name a file with --table, or redirect the output";
            return Err(Hint::new("parquet is not written to a terminal", hint).into());
        }
        Ok(format)
    }
}

/// A table that is being written.
pub(crate) struct Table<C> {
    path: PathBuf,
    rows: u64,
    writer: TableWriter<C>,
}

enum TableWriter<C> {
    Csv(Box<CsvTable>),
    Jsonl(JsonlTable),
    Parquet(Box<ParquetTable<C>>),
}

impl<C: Columns> Table<C> {
    pub(crate) fn create(path: &Path, format: TableFormat) -> Result<Self> {
        let out = OutputFile::create(path)?;
        let writer = match format {
            TableFormat::Csv => {
                CsvTable::new(out, C::NAMES).map(|table| TableWriter::Csv(Box::new(table)))
            }
            TableFormat::Jsonl => Ok(TableWriter::Jsonl(JsonlTable::new(out))),
            TableFormat::Parquet => {
                ParquetTable::new(out).map(|table| TableWriter::Parquet(Box::new(table)))
            }
        };
        Ok(Self { path: path.to_owned(), rows: 0, writer: failing_at(path, writer)? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of rows written so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn push(&mut self, row: C::Row<'_>) -> Result<()> {
        self.rows += 1;
        let pushed = match &mut self.writer {
            TableWriter::Csv(table) => table.push(row),
            TableWriter::Jsonl(table) => table.push(row),
            TableWriter::Parquet(table) => table.push(row),
        };
        failing_at(&self.path, pushed)
    }

    /// Passes on what was written, for a reader at the other end of a pipe. Parquet waits for its row
    /// group.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let flushed = match &mut self.writer {
            TableWriter::Csv(table) => table.flush(),
            TableWriter::Jsonl(table) => table.flush(),
            TableWriter::Parquet(_) => Ok(()),
        };
        failing_at(&self.path, flushed)
    }

    /// Completes the file and gives it its name.
    pub(crate) fn finish(self) -> Result<()> {
        let written = match self.writer {
            TableWriter::Csv(table) => table.finish(),
            TableWriter::Jsonl(table) => Ok(table.finish()),
            TableWriter::Parquet(table) => table.finish(),
        };
        let flushed = written.and_then(|mut out| out.flush().map(|()| out));
        Ok(failing_at(&self.path, flushed)?.finish()?)
    }
}

fn failing_at<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_asked_for_or_that_of_the_extension() {
        let of = |path: &str, asked| TableFormat::of(Path::new(path), asked);

        assert_eq!(of("a.csv", None).unwrap(), TableFormat::Csv);
        assert_eq!(of("dir.csv/a.PARQUET", None).unwrap(), TableFormat::Parquet);
        assert_eq!(of("a.jsonl", None).unwrap(), TableFormat::Jsonl);
        assert_eq!(of("/dev/stdout", None).unwrap(), TableFormat::Csv);
        assert_eq!(of("a.csv", Some(TableFormat::Jsonl)).unwrap(), TableFormat::Jsonl);
        assert_eq!(of("a", Some(TableFormat::Csv)).unwrap(), TableFormat::Csv);
        for path in ["a.xlsx", "a", ".csv"] {
            let error = of(path, None).unwrap_err().to_string();
            assert!(error.contains(".csv, .parquet or .jsonl"), "{error}");
        }
    }
}
