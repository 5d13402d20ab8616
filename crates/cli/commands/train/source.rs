//! The source of the activations of a training run.

use std::path::Path;

use anyhow::{Result, anyhow};
use nanoscope_corpus::FileActivations;
use nanoscope_corpus::{
    ActivationSource, ActivationStore, CorpusError, CorpusOptions, ModelActivations, SpecialTokens,
    TokenizeOptions, TokenizedCorpus, contexts_within, hook_widths,
};
use nanoscope_train::RunConfig;

use crate::args::{GptArgs, MemoryArgs};
use crate::commands::interruption::is_interruption;
use crate::load::{open_model, tokenizer};
use crate::remote::local_store;
use crate::terminal::progress::DelayedBar;
use crate::terminal::signals::InterruptFlag;
use crate::texts::{default_context, note_passed_over, open_corpus};

/// The size of a segment of computed activations, in bytes. A training reads several at a time.
const SEGMENT_BYTES: u64 = 4 << 20;
/// The smallest number of segments of a text of at least as many contexts, so that held-out ones can be
/// spread over all of it.
const MIN_SEGMENTS: u64 = 160;
/// The number of contexts read besides those of the training activations.
const MORE_CONTEXTS: u64 = 20;
/// The number of tokens read per training activation: some are held out, and special tokens do not
/// count.
const TOKENS_PER_ACTIVATION: f64 = 1.2;

/// Opens the source that `config` names; none if reading the texts was interrupted.
///
/// The tokens of the texts are stored in `scratch` during the training; `limit` is how many a resumed
/// run read before. `fits` is called with the width of the activations at each hook point before the
/// texts are read.
pub(crate) fn source(
    config: &RunConfig,
    scratch: &Path,
    limit: Option<u64>,
    fits: &dyn Fn(&[usize]) -> Result<()>,
    ignore_memory: bool,
    interrupted: &InterruptFlag,
) -> Result<Option<Box<dyn ActivationSource>>> {
    let source = &config.source;
    if let Some(path) = &source.activations {
        let hook = config.hooks[0];
        let segments = FileActivations::open(path, source.tensor.as_deref(), hook)?;
        return Ok(Some(Box::new(segments)));
    }
    if let Some(dir) = &source.store {
        let Some(dir) = unless_interrupted(local_store(dir, interrupted))? else { return Ok(None) };
        return Ok(Some(Box::new(ActivationStore::open(&dir)?.select(&config.hooks)?)));
    }
    let era = source.era.as_deref().map(str::parse).transpose();
    let gpt = GptArgs {
        model: source.model.clone(),
        tokenizer: source.tokenizer.clone(),
        device: config.device.clone(),
        era: era.map_err(|error| anyhow!("`source.era`: {error}"))?,
    };
    let default = CorpusOptions::default();
    let options = CorpusOptions {
        text_column: source.text_column.clone().unwrap_or(default.text_column),
        strict: source.strict.unwrap_or(default.strict),
        max_document_bytes: source.max_document_bytes.unwrap_or(default.max_document_bytes),
    };
    // Before the model is loaded, because a misspelt path is the most likely mistake.
    let corpus = open_corpus(&source.text, &options, interrupted);
    let Some(corpus) = unless_interrupted(corpus)? else { return Ok(None) };
    let scope = open_model(&gpt, MemoryArgs { dtype: None, ignore_memory })?;
    let gpt = scope.model().gpt();
    let widths: Vec<usize> =
        hook_widths(gpt, &config.hooks)?.into_iter().map(|(_, width)| width).collect();
    fits(&widths)?;
    let width: usize = widths.iter().sum();
    let context_len =
        source.context.unwrap_or_else(|| default_context(gpt.config().shape.sequence_len));
    let limit = limit.unwrap_or_else(|| {
        let wanted = config.recipe.steps.saturating_mul(config.recipe.batch as u64);
        ((wanted as f64 * TOKENS_PER_ACTIVATION) as u64)
            .saturating_add(MORE_CONTEXTS.saturating_mul(context_len as u64))
    });
    let options = TokenizeOptions { context_len, limit: Some(limit), dir: scratch.to_owned() };
    let bar = DelayedBar::new("reading the texts", limit, "tokens");
    let tokenizer = tokenizer(&scope, "name its folder with --tokenizer")?;
    let tokens = TokenizedCorpus::build(&corpus, tokenizer, &options, &mut |so_far| {
        bar.set(so_far.tokens);
        interrupted.control_flow()
    });
    drop(bar);
    let tokens = match tokens {
        Err(CorpusError::Interrupted) => return Ok(None),
        tokens => tokens?,
    };
    note_passed_over(tokens.passed_over());
    let per_segment = contexts_within(SEGMENT_BYTES, context_len, width)
        .min(tokens.contexts() / MIN_SEGMENTS)
        .max(1);
    let hooks = &config.hooks;
    let live = ModelActivations::new(gpt.clone(), tokens, hooks, SpecialTokens::Skip, per_segment)?;
    Ok(Some(Box::new(live)))
}

/// The result of work that a signal may have ended.
fn unless_interrupted<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if is_interruption(&error) => Ok(None),
        result => result.map(Some),
    }
}
