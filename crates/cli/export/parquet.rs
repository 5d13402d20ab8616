//! Tables as parquet.

use std::io;
use std::sync::Arc;

use nanoscope_checkpoint::OutputFile;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::columns::Columns;

/// Rows per row group, which are held in memory: some megabytes.
const GROUP_ROWS: usize = 1 << 16;

/// Writes a table as parquet, compressed with zstd.
pub(crate) struct ParquetTable<C> {
    writer: SerializedFileWriter<OutputFile>,
    /// The rows that are not written yet.
    group: C,
}

impl<C: Columns> ParquetTable<C> {
    pub(crate) fn new(out: OutputFile) -> io::Result<Self> {
        let schema = parse_message_type(C::SCHEMA).expect("the schema is a constant");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("nanoscope ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties));
        Ok(Self { writer: writer.map_err(io_error)?, group: C::default() })
    }

    pub(crate) fn push(&mut self, row: C::Row<'_>) -> io::Result<()> {
        self.group.push(row);
        if self.group.rows() < GROUP_ROWS { Ok(()) } else { self.write_group() }
    }

    /// Writes the rest, and returns the file.
    pub(crate) fn finish(mut self) -> io::Result<OutputFile> {
        if self.group.rows() > 0 {
            self.write_group()?;
        }
        self.writer.into_inner().map_err(io_error)
    }

    fn write_group(&mut self) -> io::Result<()> {
        let columns = std::mem::take(&mut self.group);
        let write = |writer: &mut SerializedFileWriter<OutputFile>| {
            let mut group = writer.next_row_group()?;
            columns.write(&mut group)?;
            group.close().map(drop)
        };
        write(&mut self.writer).map_err(io_error)
    }
}

/// The error of the file below, if there is one.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use parquet::file::metadata::RowGroupMetaData;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row};

    use super::*;
    use crate::export::rows::tests::hostile;
    use crate::export::rows::{COLUMNS, TableRow};
    use crate::export::token_columns::TokenColumns;

    fn write(path: &Path, rows: impl Iterator<Item = TableRow<'static>>) {
        let file = OutputFile::create(path).unwrap();
        let mut table = ParquetTable::<TokenColumns>::new(file).unwrap();
        for row in rows {
            table.push(row).unwrap();
        }
        table.finish().unwrap().finish().unwrap();
    }

    fn read(path: &Path) -> (SerializedFileReader<File>, Vec<Row>) {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        (reader, rows)
    }

    #[test]
    fn every_field_reads_back_with_its_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.parquet");
        write(&path, hostile().into_iter());

        let (_, rows) = read(&path);
        assert_eq!(rows.len(), hostile().len());
        for (found, row) in rows.iter().zip(hostile()) {
            let found: Vec<(&String, &Field)> = found.get_column_iter().collect();
            assert_eq!(found.iter().map(|(name, _)| *name).collect::<Vec<_>>(), COLUMNS);
            let text = |text: &str| Field::Str(text.to_owned());
            let expected = [
                Field::Int(row.row as i32),
                Field::Int(row.position as i32),
                Field::UInt(row.token_id),
                text(row.token),
                Field::Bool(row.is_prompt),
                row.logprob.map_or(Field::Null, Field::Float),
                text(row.hook),
                Field::UInt(row.feature),
                Field::Float(row.activation),
                row.label.map_or(Field::Null, text),
            ];
            assert!(found.iter().map(|(_, field)| *field).eq(&expected), "{found:?}");
        }
    }

    #[test]
    fn rows_are_written_in_groups_and_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.parquet");
        let row = hostile()[1];
        let rows = (0..GROUP_ROWS as u32 + 3).map(|position| TableRow { position, ..row });
        write(&path, rows);

        let (reader, rows) = read(&path);
        let groups = reader.metadata().row_groups();
        let lens: Vec<i64> = groups.iter().map(RowGroupMetaData::num_rows).collect();
        assert_eq!(lens, [GROUP_ROWS as i64, 3]);
        assert!(matches!(groups[0].column(3).compression(), Compression::ZSTD(_)));
        let positions = rows.iter().map(|row| row.get_column_iter().nth(1).unwrap().1.clone());
        assert!(positions.eq((0..GROUP_ROWS as i32 + 3).map(Field::Int)));
    }

    #[test]
    fn a_table_without_rows_has_its_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.parquet");
        write(&path, std::iter::empty());

        let (reader, rows) = read(&path);
        assert!(rows.is_empty());
        assert_eq!(reader.metadata().file_metadata().schema_descr().num_columns(), COLUMNS.len());
    }
}
