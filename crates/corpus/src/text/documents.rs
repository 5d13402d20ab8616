//! Iterates over the documents of a corpus.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::csv_text::CsvText;
use super::found::{Found, OddLines, PassedOver};
use super::json_document::JsonDocument;
use super::json_lines::JsonLines;
use super::lines::Lines;
use super::options::CorpusOptions;
use super::parquet::ParquetText;
use super::plain_text::{PIECE_BYTES, PlainText};
use super::recognise::{self, Recognised};
use super::text_file::{TextFile, TextFormat};
use crate::CorpusError;

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
/// At most one JSON document or a few parquet rows (each up to
/// [`max_document_bytes`](CorpusOptions::max_document_bytes)), the current page of a parquet file, or
/// about a megabyte of plain text is in memory. Longer plain texts are returned in several parts.
pub struct Documents<'a> {
    files: &'a [TextFile],
    options: &'a CorpusOptions,
    /// The next file to open.
    next: usize,
    open: Option<Open>,
    number: u64,
    odd: OddLines,
    /// Bytes of the finished files.
    done: u64,
    /// Bytes read of the open file.
    read: Arc<AtomicU64>,
    failed: bool,
}

enum Open {
    Text(PlainText),
    JsonLines(JsonLines),
    Json(Box<JsonDocument<Box<dyn BufRead>>>),
    Csv(Box<CsvText>),
    Parquet(Box<ParquetText>),
}

impl<'a> Documents<'a> {
    pub(crate) fn new(files: &'a [TextFile], options: &'a CorpusOptions) -> Self {
        Self {
            files,
            options,
            next: 0,
            open: None,
            number: 0,
            odd: OddLines::new(options.strict),
            done: 0,
            read: Arc::default(),
            failed: false,
        }
    }

    /// Bytes of the files read so far, compressed where they are compressed.
    pub fn bytes_read(&self) -> u64 {
        match &self.open {
            Some(Open::Parquet(parquet)) => {
                let bytes = self.files[self.next - 1].bytes as f64;
                self.done + (bytes * parquet.done()) as u64
            }
            // An object in JSON is read twice.
            Some(_) => {
                let bytes = self.files[self.next - 1].bytes;
                self.done + self.read.load(Ordering::Relaxed).min(bytes)
            }
            None => self.done,
        }
    }

    /// Lines and rows without a text that have been passed over so far.
    pub fn passed_over(&self) -> &PassedOver {
        self.odd.passed_over()
    }

    fn advance(&mut self) -> Result<Option<Document>, CorpusError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.get(self.next) else { return Ok(None) };
                self.next += 1;
                self.read.store(0, Ordering::Relaxed);
                self.odd.begin();
                self.open = Some(Open::new(file, self.options, &self.read)?);
                continue;
            };
            let (text, continued) = match open.next()? {
                Some(Found::Text { text, continued }) => (text, continued),
                Some(Found::Odd(error)) => {
                    self.odd.odd(error)?;
                    continue;
                }
                None => {
                    self.odd.end()?;
                    self.done += self.files[self.next - 1].bytes;
                    self.read.store(0, Ordering::Relaxed);
                    self.open = None;
                    continue;
                }
            };
            self.odd.text();
            if text.is_empty() {
                continue;
            }
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
    fn new(
        file: &TextFile,
        options: &CorpusOptions,
        read: &Arc<AtomicU64>,
    ) -> Result<Self, CorpusError> {
        let CorpusOptions { text_column: column, max_document_bytes: limit, .. } = options;
        let limit = *limit;
        let Recognised { format, reader } = recognise::open(file, read)?;
        let lines = |reader| Lines::new(reader, &file.path, limit);
        Ok(match format {
            TextFormat::Text => {
                Self::Text(PlainText::new(lines(reader), PIECE_BYTES.min(limit), limit))
            }
            TextFormat::JsonLines => Self::JsonLines(JsonLines::new(lines(reader), column)),
            TextFormat::Json => {
                let again = || Ok(recognise::open(file, read)?.reader);
                let path = file.path.clone();
                let document = JsonDocument::open(path, column, limit, reader, again)?;
                Self::Json(Box::new(document))
            }
            TextFormat::Csv { delimiter } => {
                Self::Csv(Box::new(CsvText::new(reader, &file.path, column, delimiter, limit)?))
            }
            TextFormat::Parquet => {
                Self::Parquet(Box::new(ParquetText::open(&file.path, column, limit)?))
            }
        })
    }

    fn next(&mut self) -> Result<Option<Found>, CorpusError> {
        match self {
            Self::Text(text) => Ok(text
                .next()?
                .map(|piece| Found::Text { text: piece.text, continued: piece.continued })),
            Self::JsonLines(lines) => lines.next(),
            Self::Json(document) => document.next(),
            Self::Csv(table) => table.next(),
            Self::Parquet(parquet) => parquet.next(),
        }
    }
}
