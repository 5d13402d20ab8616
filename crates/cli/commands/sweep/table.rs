//! Sweeps as tables.

use std::path::Path;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_runtime::{Fluency, Scale};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type};
use parquet::errors::ParquetError;
use serde::Serialize;

use super::measure::Sweep;
use super::strength::value;
use crate::export::{Columns, Nullable, RowGroup, Table, TableFormat, column};
use crate::terminal::feature_name::{FeatureName, Naming};

/// Writes a row for each feature and strength.
pub(super) fn write(
    path: &Path,
    format: Option<TableFormat>,
    scope: &Microscope,
    swept: &Sweep,
) -> Result<()> {
    let mut table = Table::<SweepColumns>::create(path, TableFormat::of(path, format)?)?;
    for feature in &swept.features {
        let hook = feature.hook.to_string();
        scope.prepare(feature.hook, &[(feature.feature, 0.0)]);
        let name = Naming::name(scope, feature.hook, feature.feature);
        for point in &feature.points {
            table.push(SweepRow {
                hook: &hook,
                feature: feature.feature,
                label: name.as_ref().map(FeatureName::text),
                op: point.op.name(),
                strength: value(point.op),
                scale: point.op.scale().map(Scale::name),
                metric: point.measured.metric,
                unsteered_metric: swept.unsteered.metric,
                nll: point.measured.nll,
                unsteered_nll: swept.unsteered.nll,
                ratio: swept.fluency(point).as_ref().and_then(Fluency::ratio),
            })?;
        }
    }
    table.finish()
}

/// A feature at one strength.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct SweepRow<'r> {
    hook: &'r str,
    feature: u32,
    label: Option<&'r str>,
    op: &'r str,
    strength: f32,
    /// `None` for an operation without a scale.
    scale: Option<&'r str>,
    metric: f32,
    unsteered_metric: f32,
    nll: Option<f64>,
    unsteered_nll: Option<f64>,
    ratio: Option<f64>,
}

/// The columns of [`SweepRow`].
#[derive(Default)]
pub(super) struct SweepColumns {
    hook: Vec<ByteArray>,
    feature: Vec<i32>,
    label: Nullable<ByteArray>,
    op: Vec<ByteArray>,
    strength: Vec<f32>,
    scale: Nullable<ByteArray>,
    metric: Vec<f32>,
    unsteered_metric: Vec<f32>,
    nll: Nullable<f64>,
    unsteered_nll: Nullable<f64>,
    ratio: Nullable<f64>,
}

impl Columns for SweepColumns {
    type Row<'r> = SweepRow<'r>;

    const NAMES: &'static [&'static str] = &[
        "hook",
        "feature",
        "label",
        "op",
        "strength",
        "scale",
        "metric",
        "unsteered_metric",
        "nll",
        "unsteered_nll",
        "ratio",
    ];
    const SCHEMA: &'static str = "message sweep {
        REQUIRED BYTE_ARRAY hook (STRING);
        REQUIRED INT32 feature (INTEGER(32, false));
        OPTIONAL BYTE_ARRAY label (STRING);
        REQUIRED BYTE_ARRAY op (STRING);
        REQUIRED FLOAT strength;
        OPTIONAL BYTE_ARRAY scale (STRING);
        REQUIRED FLOAT metric;
        REQUIRED FLOAT unsteered_metric;
        OPTIONAL DOUBLE nll;
        OPTIONAL DOUBLE unsteered_nll;
        OPTIONAL DOUBLE ratio;
    }";

    fn push(&mut self, row: SweepRow<'_>) {
        self.hook.push(row.hook.into());
        // Unsigned numbers are stored as the signed ones with the same bits.
        self.feature.push(row.feature as i32);
        self.label.push(row.label.map(ByteArray::from));
        self.op.push(row.op.into());
        self.strength.push(row.strength);
        self.scale.push(row.scale.map(ByteArray::from));
        self.metric.push(row.metric);
        self.unsteered_metric.push(row.unsteered_metric);
        self.nll.push(row.nll);
        self.unsteered_nll.push(row.unsteered_nll);
        self.ratio.push(row.ratio);
    }

    fn rows(&self) -> usize {
        self.hook.len()
    }

    fn write(&self, group: &mut RowGroup<'_>) -> Result<(), ParquetError> {
        column::<ByteArrayType>(group, &self.hook)?;
        column::<Int32Type>(group, &self.feature)?;
        self.label.write::<ByteArrayType>(group)?;
        column::<ByteArrayType>(group, &self.op)?;
        column::<FloatType>(group, &self.strength)?;
        self.scale.write::<ByteArrayType>(group)?;
        column::<FloatType>(group, &self.metric)?;
        column::<FloatType>(group, &self.unsteered_metric)?;
        self.nll.write::<DoubleType>(group)?;
        self.unsteered_nll.write::<DoubleType>(group)?;
        self.ratio.write::<DoubleType>(group)
    }
}
