//! Reads documents from a column of a CSV or TSV file (RFC 4180).

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::found::Found;
use crate::CorpusError;

/// The texts of a column.
pub(crate) struct CsvText {
    reader: Reader<Limited>,
    path: PathBuf,
    limit: usize,
    /// The column's index; none for a file without rows.
    at: Option<usize>,
    columns: usize,
    /// Bytes read since the last row.
    since_row: Rc<Cell<u64>>,
    row: ByteRecord,
}

/// Size of the buffer between a file and the parser.
const BUFFER_BYTES: usize = 64 << 10;
/// Other bytes that separate columns in some programs.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

impl CsvText {
    /// Reads the header. If `delimiter` leaves it without the column, and another one does not, the
    /// other one is taken.
    ///
    /// # Errors
    /// [`CorpusError::NoColumn`], [`CorpusError::ColumnTwice`], [`CorpusError::Io`], [`CorpusError::LineTooLong`].
    pub(crate) fn new(
        reader: Box<dyn BufRead>,
        path: &Path,
        column: &str,
        delimiter: u8,
        limit: usize,
    ) -> Result<Self, CorpusError> {
        let since_row = Rc::new(Cell::new(0));
        let mut reader = Limited {
            reader,
            replay: io::Cursor::new(Vec::new()),
            limit,
            since_row: Rc::clone(&since_row),
        };
        let start = reader.start(BUFFER_BYTES).map_err(|source| CorpusError::io(path, source))?;
        let has_column = |delimiter: &u8| {
            let mut header = ByteRecord::new();
            let read =
                builder(*delimiter).from_reader(start.as_slice()).read_byte_record(&mut header);
            read.is_ok() && position(&header, column).is_some()
        };
        let delimiter =
            [delimiter].into_iter().chain(DELIMITERS).find(has_column).unwrap_or(delimiter);
        let mut text = Self {
            reader: builder(delimiter).from_reader(reader),
            path: path.to_owned(),
            limit,
            at: None,
            columns: 0,
            since_row,
            row: ByteRecord::new(),
        };
        if text.read()? {
            text.columns = text.row.len();
            if text.row.iter().filter(|name| is_called(name, column)).count() > 1 {
                let (path, column) = (path.to_owned(), column.to_owned());
                return Err(CorpusError::ColumnTwice { path, column });
            }
            text.at = position(&text.row, column);
            if text.at.is_none() {
                let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                return Err(CorpusError::NoColumn {
                    path: path.to_owned(),
                    column: column.to_owned(),
                    found: text.row.iter().map(name).collect(),
                });
            }
        }
        Ok(text)
    }

    /// Returns the next text.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, CorpusError> {
        let Some(at) = self.at else { return Ok(None) };
        if !self.read()? {
            return Ok(None);
        }
        let line = self.row.position().map_or(0, csv::Position::line);
        let path = || self.path.clone();
        let (found, expected) = (self.row.len(), self.columns);
        if found != expected {
            return Ok(Some(Found::Odd(CorpusError::RowLength {
                path: path(),
                line,
                found,
                expected,
            })));
        }
        Ok(Some(match std::str::from_utf8(&self.row[at]) {
            Ok(text) => Found::Text { text: text.to_owned(), continued: false },
            Err(_) => Found::Odd(CorpusError::NotUtf8 { path: path(), line }),
        }))
    }

    fn read(&mut self) -> Result<bool, CorpusError> {
        self.since_row.set(0);
        self.reader.read_byte_record(&mut self.row).map_err(|error| {
            let line = self.reader.position().line();
            match error.into_kind() {
                csv::ErrorKind::Io(source) if is_too_long(&source) => {
                    CorpusError::LineTooLong { path: self.path.clone(), line, limit: self.limit }
                }
                csv::ErrorKind::Io(source) => CorpusError::io(&self.path, source),
                other => CorpusError::io(&self.path, io::Error::other(format!("{other:?}"))),
            }
        })
    }
}

fn builder(delimiter: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true).buffer_capacity(BUFFER_BYTES);
    builder
}

fn position(header: &ByteRecord, column: &str) -> Option<usize> {
    header.iter().position(|name| is_called(name, column))
}

fn is_called(name: &[u8], column: &str) -> bool {
    name.trim_ascii() == column.as_bytes()
}

/// A reader that fails when it has read more than a row may have without the end of one: a quote that
/// is never closed would take the rest of the file into memory.
struct Limited {
    reader: Box<dyn BufRead>,
    /// Bytes that were looked at in advance.
    replay: io::Cursor<Vec<u8>>,
    limit: usize,
    since_row: Rc<Cell<u64>>,
}

impl Limited {
    /// Returns the first bytes, which are read again later.
    fn start(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        (&mut self.reader).take(len as u64).read_to_end(&mut start)?;
        self.replay = io::Cursor::new(start.clone());
        Ok(start)
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() > (self.limit + BUFFER_BYTES) as u64 {
            return Err(io::Error::other(TooLong));
        }
        let replayed = self.replay.read(buffer)?;
        let read = if replayed > 0 { replayed } else { self.reader.read(buffer)? };
        self.since_row.set(self.since_row.get() + read as u64);
        Ok(read)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a row is too long")]
struct TooLong;

fn is_too_long(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::found;

    fn texts(table: &str, delimiter: u8) -> Result<Vec<Result<String, String>>, String> {
        let reader = Box::new(io::Cursor::new(table.as_bytes().to_vec()));
        let mut text = CsvText::new(reader, Path::new("a.csv"), "text", delimiter, 100_000)
            .map_err(|error| error.to_string())?;
        found::tests::texts(|| text.next())
    }

    #[test]
    fn a_column_is_read_with_quotes_line_breaks_and_any_delimiter() {
        let expected = vec![Ok("a, \"b\";\tc\r\nd".to_owned()), Ok("Größe".to_owned())];
        for delimiter in [',', '\t', ';', '|'] {
            let table = format!(
                "id{delimiter}text\r\n1{delimiter}\"a, \"\"b\"\";\tc\r\nd\"\r\n2{delimiter}Größe"
            );
            assert_eq!(texts(&table, b','), Ok(expected.clone()), "{delimiter}");
        }
        assert_eq!(texts("", b','), Ok(vec![]));
        assert_eq!(texts("text\n", b','), Ok(vec![]));
    }

    #[test]
    fn a_table_with_no_or_two_such_columns_and_a_row_of_another_length_are_named() {
        let error = texts("id,story\n1,a\n", b',').unwrap_err();
        assert_eq!(error, "a.csv has no column `text` (found `id`, `story`)");

        let error = texts("text,id, text \na,1,b\n", b',').unwrap_err();
        assert_eq!(error, "a.csv has more than one column `text`");

        let found = texts("id,text\n1,a\n2,b,c\n3,d\n", b',').unwrap();
        assert_eq!(found[0], Ok("a".to_owned()));
        let says = "line 3 of a.csv has 3 fields; the header has 2";
        assert_eq!(found[1], Err(says.to_owned()));
        assert_eq!(found[2], Ok("d".to_owned()));
    }

    #[test]
    fn a_quote_that_is_never_closed_takes_no_more_than_a_row_may_have() {
        let table = format!("text\nfine\n\"{}", "a\n".repeat(1 << 20));

        let error = texts(&table, b',').unwrap_err();

        assert!(error.contains("of a.csv is longer than 100000 bytes"), "{error}");
    }
}
