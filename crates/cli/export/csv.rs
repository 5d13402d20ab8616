//! Tables as CSV.

use std::io;

use csv::{ErrorKind, Writer, WriterBuilder};
use nanoscope_checkpoint::OutputFile;
use serde::Serialize;

/// Writes a table as CSV with a header, quoted as in RFC 4180. A missing number or text is an empty
/// field.
pub(crate) struct CsvTable(Writer<OutputFile>);

impl CsvTable {
    pub(crate) fn new(out: OutputFile, columns: &[&str]) -> io::Result<Self> {
        let mut writer = WriterBuilder::new().has_headers(false).from_writer(out);
        writer.write_record(columns).map_err(io_error)?;
        Ok(Self(writer))
    }

    pub(crate) fn push(&mut self, row: impl Serialize) -> io::Result<()> {
        self.0.serialize(row).map_err(io_error)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// Writes the rest, and returns the file.
    pub(crate) fn finish(self) -> io::Result<OutputFile> {
        self.0.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::rows::COLUMNS;
    use crate::export::rows::tests::hostile;

    #[test]
    fn every_field_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.csv");
        let mut table = CsvTable::new(OutputFile::create(&path).unwrap(), &COLUMNS).unwrap();
        for row in hostile() {
            table.push(row).unwrap();
        }
        table.finish().unwrap().finish().unwrap();

        let mut reader = csv::Reader::from_path(&path).unwrap();
        assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
        let found: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(found.len(), hostile().len());
        for (found, row) in found.iter().zip(hostile()) {
            assert_eq!(found[2].parse(), Ok(row.token_id));
            assert_eq!(found[3], *row.token);
            assert_eq!(found[4].parse(), Ok(row.is_prompt));
            let logprob = row.logprob.map(f32::to_bits);
            assert_eq!(found[5].parse().ok().map(f32::to_bits), logprob, "{}", &found[5]);
            assert_eq!(found[8].parse(), Ok(row.activation));
            assert_eq!(found[9], *row.label.unwrap_or_default());
        }
    }

    #[test]
    fn a_table_without_rows_has_a_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.csv");
        CsvTable::new(OutputFile::create(&path).unwrap(), &COLUMNS)
            .unwrap()
            .finish()
            .unwrap()
            .finish()
            .unwrap();

        assert_eq!(std::fs::read_to_string(&path).unwrap(), COLUMNS.join(",") + "\n");
    }
}
