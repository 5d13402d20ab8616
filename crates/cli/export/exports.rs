//! The files that a command writes while it goes through tokens.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_checkpoint::is_stdout;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Generation, Plan, RunOutput, Step};
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::TokenBatch;

use super::args::ExportArgs;
use super::rows::rows;
use super::table::{Table, TableFormat};
use super::token_columns::TokenColumns;
use crate::heatmap::{HeatMap, HeatMapFile};
use crate::terminal::display::counted;
use crate::terminal::export::TokenEntry;
use crate::terminal::messages::Hint;

/// The table and the heat map of a command. Both are fed with one token at a time; the table is written
/// meanwhile, the heat map at the end.
pub(crate) struct Exports<'s> {
    scope: &'s Microscope,
    top: Option<usize>,
    table: Option<Table<TokenColumns>>,
    heat_map: Option<(HeatMap, &'s HeatMapFile)>,
}

impl<'s> Exports<'s> {
    /// Opens the files of `args`. Features that are to be drawn are tracked by `plan`.
    pub(crate) fn open(
        scope: &'s Microscope,
        args: &'s ExportArgs,
        top: Option<usize>,
        plan: &mut Plan,
    ) -> Result<Self> {
        if args.is_any() && scope.model().saes().is_empty() {
            let hint = "load one with --sae PATH, or train one with `nanoscope train`";
            return Err(Hint::new("without an SAE there are no features to write", hint).into());
        }
        let heat_map = match &args.heatmap {
            Some(file) => {
                let map = HeatMap::new(scope, &args.heatmap_feature, top)?;
                plan.track.extend(map.hooks());
                Some((map, file))
            }
            None => None,
        };
        let create = |path| Table::create(path, TableFormat::of(path, args.table_format)?);
        let table = args.table.as_deref().map(create).transpose()?;
        Ok(Self { scope, top, table, heat_map })
    }

    /// Adds the prompt of a generation.
    pub(crate) fn prompt(&mut self, generation: &Generation<'_>) -> Result<()> {
        for (position, &token_id) in generation.prompt().iter().enumerate() {
            let features = generation.prompt_features();
            self.token((0, true), (position, token_id), None, (features, position))?;
        }
        Ok(())
    }

    /// Adds a generated token.
    pub(crate) fn step(&mut self, step: &Step) -> Result<()> {
        let token = (step.position, step.token_id);
        self.token((0, false), token, Some(step.logprob), (&step.features, 0))
    }

    /// Adds all tokens of a run.
    pub(crate) fn run(&mut self, tokens: &TokenBatch, run: &RunOutput) -> Result<()> {
        for (row, ids) in tokens.rows().enumerate() {
            for (position, &token_id) in ids.iter().enumerate() {
                let features = (&run.features, row * tokens.seq() + position);
                self.token((row, true), (position, token_id), None, features)?;
            }
        }
        Ok(())
    }

    fn token(
        &mut self,
        (row, is_prompt): (usize, bool),
        (position, token_id): (usize, u32),
        logprob: Option<f32>,
        (features, features_row): (&BTreeMap<HookPoint, SparseFeatures>, usize),
    ) -> Result<()> {
        if self.table.is_none() && self.heat_map.is_none() {
            return Ok(());
        }
        let text = self.scope.model().token_text(token_id);
        let entry =
            TokenEntry { position, token_id, token: &text, logprob, features, row: features_row };
        if let Some(table) = &mut self.table {
            rows(self.scope, (row, is_prompt), &entry, self.top, |row| table.push(row))?;
            table.flush()?;
        }
        if let Some((map, _)) = &mut self.heat_map {
            let tokenizer = self.scope.model().tokenizer();
            let is_special = tokenizer.is_some_and(|tokenizer| tokenizer.is_special(token_id));
            map.push(row, (is_prompt, is_special), &entry);
        }
        Ok(())
    }

    /// Completes the files, and reports those that are not stdout to `out`.
    pub(crate) fn finish(self, out: &mut dyn Write) -> Result<()> {
        if let Some(table) = self.table {
            let (path, rows) = (table.path().to_owned(), table.rows());
            table.finish()?;
            if !is_stdout(&path) {
                let rows = counted(rows, "row", "rows");
                writeln!(out, "table of {rows} written to {}", path.display())?;
            }
        }
        if let Some((map, file)) = self.heat_map {
            file.write(&map.grid(self.scope)?)?;
            if !is_stdout(file.path()) {
                writeln!(out, "heat map written to {}", file.path().display())?;
            }
        }
        Ok(())
    }
}
