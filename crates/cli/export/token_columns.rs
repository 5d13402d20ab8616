//! The columns of tables of tokens.

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, FloatType, Int32Type};
use parquet::errors::ParquetError;

use super::columns::{Columns, Nullable, RowGroup, column};
use super::rows::{COLUMNS, TableRow};

/// The columns of [`TableRow`].
#[derive(Default)]
pub(crate) struct TokenColumns {
    row: Vec<i32>,
    position: Vec<i32>,
    token_id: Vec<i32>,
    token: Vec<ByteArray>,
    is_prompt: Vec<bool>,
    logprob: Nullable<f32>,
    hook: Vec<ByteArray>,
    feature: Vec<i32>,
    activation: Vec<f32>,
    label: Nullable<ByteArray>,
}

impl Columns for TokenColumns {
    type Row<'r> = TableRow<'r>;

    const NAMES: &'static [&'static str] = &COLUMNS;
    const SCHEMA: &'static str = "message table {
        REQUIRED INT32 row;
        REQUIRED INT32 position;
        REQUIRED INT32 token_id (INTEGER(32, false));
        REQUIRED BYTE_ARRAY token (STRING);
        REQUIRED BOOLEAN is_prompt;
        OPTIONAL FLOAT logprob;
        REQUIRED BYTE_ARRAY hook (STRING);
        REQUIRED INT32 feature (INTEGER(32, false));
        REQUIRED FLOAT activation;
        OPTIONAL BYTE_ARRAY label (STRING);
    }";

    fn push(&mut self, row: TableRow<'_>) {
        // Unsigned numbers are stored as the signed ones with the same bits.
        self.row.push(row.row as i32);
        self.position.push(row.position as i32);
        self.token_id.push(row.token_id as i32);
        self.token.push(row.token.into());
        self.is_prompt.push(row.is_prompt);
        self.logprob.push(row.logprob);
        self.hook.push(row.hook.into());
        self.feature.push(row.feature as i32);
        self.activation.push(row.activation);
        self.label.push(row.label.map(ByteArray::from));
    }

    fn rows(&self) -> usize {
        self.row.len()
    }

    fn write(&self, group: &mut RowGroup<'_>) -> Result<(), ParquetError> {
        column::<Int32Type>(group, &self.row)?;
        column::<Int32Type>(group, &self.position)?;
        column::<Int32Type>(group, &self.token_id)?;
        column::<ByteArrayType>(group, &self.token)?;
        column::<BoolType>(group, &self.is_prompt)?;
        self.logprob.write::<FloatType>(group)?;
        column::<ByteArrayType>(group, &self.hook)?;
        column::<Int32Type>(group, &self.feature)?;
        column::<FloatType>(group, &self.activation)?;
        self.label.write::<ByteArrayType>(group)
    }
}
