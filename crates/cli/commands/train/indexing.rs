//! The indexes of the trained SAEs.

use anyhow::Result;
use nanoscope::{Era, Microscope};
use nanoscope_corpus::CorpusOptions;
use nanoscope_train::{Outcome, RunConfig};

use super::suggestions::{are_texts_there, collected_from};
use crate::commands::index::{Steering, index_line, make_index, save};
use crate::commands::interruption::is_interruption;
use crate::demo;
use crate::load::unwrapped;
use crate::terminal::messages::note;
use crate::terminal::signals::InterruptFlag;
use crate::texts::{open_corpus, tokenize};

/// The number of tokens that are read.
const TOKENS: u64 = 100_000;

/// Makes an index beside each trained SAE, from the text of the run. A run on stored activations whose text
/// or model is gone gets none, and a signal leaves the rest out: the SAEs are complete without them.
pub(crate) fn index_outcomes(
    run: &RunConfig,
    outcomes: &[Outcome],
    interrupted: &InterruptFlag,
) -> Vec<String> {
    match index_all(run, outcomes, interrupted) {
        Ok(lines) => lines,
        Err(error) if is_interruption(&error) => {
            note("interrupted; the SAEs are complete, but not all have an index");
            Vec::new()
        }
        Err(error) => {
            note(&format!("the SAEs have no index of their features: {error:#}"));
            Vec::new()
        }
    }
}

fn index_all(
    run: &RunConfig,
    outcomes: &[Outcome],
    interrupted: &InterruptFlag,
) -> Result<Vec<String>> {
    let Some(from) = collected_from(run) else { return Ok(Vec::new()) };
    if from.text.is_empty() || !are_texts_there(run, &from) {
        return Ok(Vec::new());
    }
    let path = from.model.clone().map_or_else(demo::unpack, Ok)?;
    let mut options = Microscope::options();
    if let Some(era) = &from.era {
        options = options.era(era.parse::<Era>()?);
    }
    if let Some(dir) = &from.tokenizer {
        options = options.tokenizer(dir);
    }
    let device = nanoscope_device::by_name(&run.device)?;
    let scope = options.open(&path, &device).map_err(unwrapped)?;
    let saes = outcomes.iter().map(|outcome| outcome.last_dir.as_path());
    let scope = scope.with_saes(saes).map_err(unwrapped)?;
    let corpus = open_corpus(
        &from.text,
        &CorpusOptions {
            text_column: from.text_column.clone(),
            strict: from.strict,
            max_document_bytes: from.max_document_bytes,
        },
        interrupted,
    )?;
    let context = run.source.context.and_then(|context| u32::try_from(context).ok());
    let tokens = tokenize(&scope, &corpus, (context, Some(TOKENS)), interrupted)?;
    let mut lines = Vec::new();
    for outcome in outcomes {
        let index =
            make_index(&scope, outcome.hook, &tokens, Steering::Measured(None), interrupted)?;
        save(&scope, &index, None, true)?;
        lines.push(index_line(&index));
    }
    Ok(lines)
}
