//! The columns of tables.

use nanoscope_checkpoint::OutputFile;
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedRowGroupWriter;
use serde::Serialize;

/// The columns of one kind of table, with the rows that are not written to parquet yet.
pub(crate) trait Columns: Default {
    /// A row, whose fields are the columns in their order.
    type Row<'r>: Serialize;

    /// The names of the columns.
    const NAMES: &'static [&'static str];
    /// Parquet's schema of the columns.
    const SCHEMA: &'static str;

    fn push(&mut self, row: Self::Row<'_>);

    /// The number of rows.
    fn rows(&self) -> usize;

    /// Writes each column.
    fn write(&self, group: &mut RowGroup<'_>) -> Result<(), ParquetError>;
}

/// A row group of a parquet file.
pub(crate) type RowGroup<'g> = SerializedRowGroupWriter<'g, OutputFile>;

/// The values of a column, and for each row 1 or 0: whether it has one.
#[derive(Default)]
pub(crate) struct Nullable<T> {
    values: Vec<T>,
    present: Vec<i16>,
}

impl<T> Nullable<T> {
    pub(crate) fn push(&mut self, value: Option<T>) {
        self.present.push(value.is_some().into());
        self.values.extend(value);
    }

    /// Writes the next column.
    pub(crate) fn write<D: DataType<T = T>>(
        &self,
        group: &mut RowGroup<'_>,
    ) -> Result<(), ParquetError> {
        write_column::<D>(group, &self.values, Some(&self.present))
    }
}

/// Writes the next column, which has a value in each row.
pub(crate) fn column<D: DataType>(
    group: &mut RowGroup<'_>,
    values: &[D::T],
) -> Result<(), ParquetError> {
    write_column::<D>(group, values, None)
}

/// Writes the next column. `present` is 1 for each row that has a value, 0 for the others.
fn write_column<D: DataType>(
    group: &mut RowGroup<'_>,
    values: &[D::T],
    present: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.expect("the schema has as many columns as the table");
    column.typed::<D>().write_batch(values, present, None)?;
    column.close()
}
