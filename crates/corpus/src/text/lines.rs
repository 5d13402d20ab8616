//! A line reader with a maximum line length.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::CorpusError;

/// The lines of a file, numbered.
pub(crate) struct Lines {
    reader: Box<dyn BufRead>,
    path: PathBuf,
    /// Number of the last line read, from 1.
    number: u64,
    limit: usize,
}

impl Lines {
    /// Reads lines of up to `limit` bytes from `reader`.
    pub(crate) fn new(reader: Box<dyn BufRead>, path: &Path, limit: usize) -> Self {
        Self { reader, path: path.to_owned(), number: 0, limit }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the next line including its line ending, or `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<String>, CorpusError> {
        let mut bytes = Vec::new();
        let max = self.limit as u64 + 1;
        self.reader
            .by_ref()
            .take(max)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| CorpusError::io(&self.path, source))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if bytes.len() as u64 == max {
            return Err(self.too_long());
        }
        let not_utf8 = |_| CorpusError::NotUtf8 { path: self.path.clone(), line: self.number };
        String::from_utf8(bytes).map(Some).map_err(not_utf8)
    }

    pub(crate) fn too_long(&self) -> CorpusError {
        CorpusError::LineTooLong { path: self.path.clone(), line: self.number, limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_longer_than_the_limit_is_an_error_that_reads_no_more_of_it() {
        let endless = std::io::BufReader::new(std::io::repeat(b'a'));
        let mut lines = Lines::new(Box::new(endless), Path::new("a.txt"), 1000);

        let error = lines.next().unwrap_err();

        assert_eq!(error.to_string(), "the text at line 1 of a.txt is longer than 1000 bytes");
    }
}
