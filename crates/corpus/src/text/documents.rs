//! Iterates over the documents of a corpus.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::json_lines::JsonLines;
use super::lines::Lines;
use super::parquet::ParquetText;
use super::plain_text::{PIECE_BYTES, PlainText};
use super::text_file::{TextFile, TextFormat};
use crate::CorpusError;

/// Maximum size in bytes of a text held in memory: a JSON line, a parquet row, or a run of
/// plain-text lines that cannot be split. A longer one is an error.
pub const MAX_TEXT_BYTES: usize = 16 << 20;

/// A document, or a part of a long plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The document's number in the corpus, from 0. Empty documents are not counted.
    pub number: u64,
    /// The text.
    pub text: String,
    /// True if this text continues the previous one, which has the same number.
    pub continued: bool,
}

/// Iterator over the documents of a corpus. It ends after an error.
///
/// At most one JSON document or a few parquet rows (each up to [`MAX_TEXT_BYTES`]), the current
/// page of a parquet file, or about a megabyte of plain text is in memory. Longer plain texts are
/// returned in several parts.
pub struct Documents<'a> {
    files: &'a [TextFile],
    column: &'a str,
    /// The next file to open.
    next: usize,
    open: Option<Open>,
    number: u64,
    /// Bytes of the finished files.
    done: u64,
    /// Bytes read of the open file.
    read: Arc<AtomicU64>,
    failed: bool,
}

enum Open {
    Text(PlainText),
    JsonLines(JsonLines),
    Parquet(Box<ParquetText>),
}

impl<'a> Documents<'a> {
    pub(crate) fn new(files: &'a [TextFile], column: &'a str) -> Self {
        let read = Arc::default();
        Self { files, column, next: 0, open: None, number: 0, done: 0, read, failed: false }
    }

    /// Bytes of the files read so far, compressed where they are compressed.
    pub fn bytes_read(&self) -> u64 {
        match &self.open {
            Some(Open::Parquet(parquet)) => {
                let bytes = self.files[self.next - 1].bytes as f64;
                self.done + (bytes * parquet.done()) as u64
            }
            _ => self.done + self.read.load(Ordering::Relaxed),
        }
    }

    fn advance(&mut self) -> Result<Option<Document>, CorpusError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.get(self.next) else { return Ok(None) };
                self.next += 1;
                self.read.store(0, Ordering::Relaxed);
                self.open = Some(Open::new(file, self.column, &self.read)?);
                continue;
            };
            let (continued, text) = match open.next()? {
                Some((_, text)) if text.is_empty() => continue,
                Some(found) => found,
                None => {
                    self.done += self.files[self.next - 1].bytes;
                    self.read.store(0, Ordering::Relaxed);
                    self.open = None;
                    continue;
                }
            };
            if !continued {
                self.number += 1;
            }
            return Ok(Some(Document { number: self.number - 1, text, continued }));
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.advance();
        self.failed = found.is_err();
        found.transpose()
    }
}

impl std::fmt::Debug for Documents<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("files", &self.files)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Open {
    fn new(file: &TextFile, column: &str, read: &Arc<AtomicU64>) -> Result<Self, CorpusError> {
        let lines = |gzip| -> Result<Lines, CorpusError> {
            let opened = File::open(&file.path).map_err(|e| CorpusError::io(&file.path, e))?;
            let opened = BufReader::new(Counted { file: opened, read: Arc::clone(read) });
            let reader: Box<dyn BufRead> = if gzip {
                Box::new(BufReader::new(MultiGzDecoder::new(opened)))
            } else {
                Box::new(opened)
            };
            Ok(Lines::new(reader, &file.path, MAX_TEXT_BYTES))
        };
        Ok(match file.format {
            TextFormat::Text { gzip } => {
                Self::Text(PlainText::new(lines(gzip)?, PIECE_BYTES, MAX_TEXT_BYTES))
            }
            TextFormat::JsonLines { gzip } => Self::JsonLines(JsonLines::new(lines(gzip)?, column)),
            TextFormat::Parquet => {
                let parquet = ParquetText::open(&file.path, column, MAX_TEXT_BYTES)?;
                Self::Parquet(Box::new(parquet))
            }
        })
    }

    /// Returns the next text, and whether it continues the previous one.
    fn next(&mut self) -> Result<Option<(bool, String)>, CorpusError> {
        match self {
            Self::Text(text) => Ok(text.next()?.map(|piece| (piece.continued, piece.text))),
            Self::JsonLines(lines) => Ok(lines.next()?.map(|text| (false, text))),
            Self::Parquet(parquet) => Ok(parquet.next()?.map(|text| (false, text))),
        }
    }
}

/// A file that counts the bytes read from it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
