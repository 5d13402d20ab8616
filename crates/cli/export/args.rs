//! Flags for files with the features of each token.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use nanoscope_checkpoint::is_stdout;

use super::table::TableFormat;
use crate::args::{FeatureArg, output_path};
use crate::heatmap::HeatMapFile;
use crate::preflight::{Inputs, check_outputs};
use crate::terminal::messages::Hint;

/// Flags for files with the features of each token.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write a table with a row for each token, tracked hook point and active feature, the prompt's
    /// tokens included, as .csv, .parquet or .jsonl; `-` is stdout
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    pub(crate) table: Option<PathBuf>,
    /// The format of the table [default: by the extension of --table; csv for stdout]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "table")]
    pub(crate) table_format: Option<TableFormat>,
    /// Draw the strongest features over the tokens, the prompt's included, as .txt, .svg or .png; `-`
    /// prints the heat map
    #[arg(long, value_name = "FILE")]
    pub(crate) heatmap: Option<HeatMapFile>,
    /// A feature to draw in the heat map; may be repeated. Without a hook point it is one of the
    /// deepest SAE [default: the strongest of the text]
    #[arg(long, value_name = "[HOOK:]FEATURE", requires = "heatmap")]
    pub(crate) heatmap_feature: Vec<FeatureArg>,
}

impl ExportArgs {
    /// Returns whether anything is to be written.
    pub(crate) fn is_any(&self) -> bool {
        self.table.is_some() || self.heatmap.is_some()
    }

    /// The path of stdout, if a table or a heat map goes there.
    pub(crate) fn stdout(&self) -> Option<&Path> {
        let table = self.table.as_deref().filter(|path| is_stdout(path));
        table.or(self.heatmap.as_ref().map(HeatMapFile::path).filter(|path| is_stdout(path)))
    }

    /// Checks, before the model is loaded, that every output can be written and replaces no input, and that only
    /// one goes to stdout. `json` and `out` are the command's own outputs.
    pub(crate) fn check(&self, json: bool, out: Option<&Path>, inputs: &Inputs<'_>) -> Result<()> {
        let heat_map = self.heatmap.as_ref().map(HeatMapFile::path);
        let to_stdout = |path: Option<&Path>| path.is_some_and(is_stdout);
        check_stdout(&[
            ("--out", to_stdout(out)),
            ("--json", json),
            ("--table", to_stdout(self.table.as_deref())),
            ("--heatmap", to_stdout(heat_map)),
        ])?;
        if let Some(path) = &self.table {
            TableFormat::of(path, self.table_format)?;
        }
        let table = self.table.as_deref();
        check_outputs(&[("--out", out), ("--table", table), ("--heatmap", heat_map)], inputs)
    }
}

/// Checks that only one output goes to stdout. Each is a flag, and true if it does.
pub(crate) fn check_stdout(outputs: &[(&str, bool)]) -> Result<()> {
    let on_stdout: Vec<&str> =
        outputs.iter().filter_map(|&(flag, is_on_stdout)| is_on_stdout.then_some(flag)).collect();
    if let [first, second, ..] = on_stdout[..] {
        let error = format!("{first} and {second} both write to stdout");
        return Err(Hint::new(error, "name a file for one of them, or omit it").into());
    }
    Ok(())
}
