//! Reads documents from a column of a parquet file.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use nanoscope_tokenizer::catch_panic;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::found::Found;
use crate::CorpusError;

/// The texts of a column, read a few rows at a time.
pub(crate) struct ParquetText {
    path: PathBuf,
    file_len: u64,
    reader: SerializedFileReader<File>,
    column: usize,
    limit: usize,
    /// The row group to open next.
    next_group: usize,
    /// The column reader of the open row group, and the number of texts it has returned.
    open: Option<(ColumnReaderImpl<ByteArrayType>, u64)>,
    texts: VecDeque<String>,
    /// Rows without a text that were read and not returned.
    nulls: usize,
    name: String,
}

impl ParquetText {
    pub(crate) fn open(path: &Path, column: &str, limit: usize) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| CorpusError::io(path, source))?;
        let metadata = file.metadata().map_err(|source| CorpusError::io(path, source))?;
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(|source| {
            CorpusError::Parquet { path: path.to_owned(), row_group: None, source }
        })?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let at = schema.columns().iter().position(|found| found.path().string() == column);
        let Some(at) = at else {
            let found = schema.columns().iter().map(|column| column.path().string()).collect();
            let column = column.to_owned();
            return Err(CorpusError::NoColumn { path: path.to_owned(), column, found });
        };
        let found = schema.column(at);
        if found.physical_type() != PhysicalType::BYTE_ARRAY || found.max_rep_level() > 0 {
            let kind = if found.max_rep_level() > 0 {
                "lists".to_owned()
            } else {
                format!("numbers of type {}", found.physical_type())
            };
            let column = column.to_owned();
            return Err(CorpusError::NotText { path: path.to_owned(), column, found: kind });
        }
        Ok(Self {
            path: path.to_owned(),
            file_len: metadata.len(),
            reader,
            column: at,
            limit,
            next_group: 0,
            open: None,
            texts: VecDeque::new(),
            nulls: 0,
            name: column.to_owned(),
        })
    }

    /// The fraction of the file that has been read.
    pub(crate) fn done(&self) -> f64 {
        self.next_group as f64 / self.reader.num_row_groups().max(1) as f64
    }

    pub(crate) fn next(&mut self) -> Result<Option<Found>, CorpusError> {
        loop {
            if let Some(text) = self.texts.pop_front() {
                return Ok(Some(Found::Text { text, continued: false }));
            }
            if self.nulls > 0 {
                self.nulls -= 1;
                return Ok(Some(Found::Odd(CorpusError::NullText {
                    path: self.path.clone(),
                    place: format!("row group {}", self.next_group - 1),
                    column: self.name.clone(),
                })));
            }
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            self.read_some()?;
        }
    }

    fn open_next(&mut self) -> Result<bool, CorpusError> {
        let group = self.next_group;
        if group >= self.reader.num_row_groups() {
            return Ok(false);
        }
        self.next_group += 1;
        let metadata = self.reader.metadata().row_group(group);
        // The reader allocates as many bytes as the file claims.
        let claimed = metadata.columns()[self.column].compressed_size();
        if u64::try_from(claimed).map_or(true, |claimed| claimed > self.file_len) {
            return Err(CorpusError::ParquetTooLarge {
                path: self.path.clone(),
                row_group: group,
                found: claimed.unsigned_abs(),
                limit: self.file_len,
            });
        }
        let damaged = |source| self.damaged(group, source);
        let open = || self.reader.get_row_group(group)?.get_column_reader(self.column);
        match guarded(open).map_err(damaged)? {
            ColumnReader::ByteArrayColumnReader(reader) => self.open = Some((reader, 0)),
            _ => {
                return Err(damaged(ParquetError::General(
                    "the column's type differs between row groups".into(),
                )));
            }
        }
        Ok(true)
    }

    fn read_some(&mut self) -> Result<(), CorpusError> {
        /// Rows held in memory at once, besides the page they are in.
        const CHUNK_ROWS: usize = 16;

        let group = self.next_group - 1;
        let Some((reader, given)) = &mut self.open else { return Ok(()) };
        let mut values: Vec<ByteArray> = Vec::new();
        let mut levels = Vec::new();
        let read =
            guarded(|| reader.read_records(CHUNK_ROWS, Some(&mut levels), None, &mut values));
        let (rows, ..) = read.map_err(|source| CorpusError::Parquet {
            path: self.path.clone(),
            row_group: Some(group),
            source,
        })?;
        let from = *given;
        *given += values.len() as u64;
        self.nulls += rows.saturating_sub(values.len());
        if rows == 0 {
            self.open = None;
        }
        for value in values {
            if value.len() > self.limit {
                return Err(CorpusError::ParquetTooLarge {
                    path: self.path.clone(),
                    row_group: group,
                    found: value.len() as u64,
                    limit: self.limit as u64,
                });
            }
            let text = std::str::from_utf8(value.data()).map_err(|_| CorpusError::RowNotUtf8 {
                path: self.path.clone(),
                row_group: group,
                text: from + self.texts.len() as u64,
            })?;
            self.texts.push_back(text.to_owned());
        }
        Ok(())
    }

    fn damaged(&self, row_group: usize, source: ParquetError) -> CorpusError {
        CorpusError::Parquet { path: self.path.clone(), row_group: Some(row_group), source }
    }
}

/// Runs `work`, catching the panics of the parquet crate on some damaged files.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    catch_panic(work).unwrap_or_else(|panic| Err(ParquetError::General(panic)))
}
