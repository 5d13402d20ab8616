//! The source of the activations of a training run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nanoscope_corpus::FileActivations;
use nanoscope_corpus::{
    ActivationSource, ActivationStore, Corpus, CorpusError, CorpusOptions, ModelActivations,
    SpecialTokens, TokenizeOptions, TokenizedCorpus, contexts_within, hook_widths,
};
use nanoscope_train::RunConfig;

use crate::args::GptArgs;
use crate::load::{open_model, tokenizer};
use crate::terminal::messages::note;
use crate::terminal::progress::DelayedBar;
use crate::terminal::signals::InterruptFlag;

/// The size of a segment of computed activations, in bytes. Three are in memory at a time.
const SEGMENT_BYTES: u64 = 64 << 20;
/// The smallest number of segments, so that held-out segments of a small corpus are a small part.
const MIN_SEGMENTS: u64 = 20;
/// The number of tokens read per training activation: some are held out, and special tokens do not
/// count.
const TOKENS_PER_ACTIVATION: f64 = 1.2;

/// Opens the source that `config` names; none if reading the texts was interrupted.
///
/// The tokens of the texts are stored in `scratch` during the training.
pub(crate) fn source(
    config: &RunConfig,
    scratch: &Path,
    interrupted: &InterruptFlag,
) -> Result<Option<Box<dyn ActivationSource>>> {
    let source = &config.source;
    if let Some(path) = &source.activations {
        let hook = config.hooks[0];
        let segments = FileActivations::open(path, source.tensor.as_deref(), hook)?;
        return Ok(Some(Box::new(segments)));
    }
    if let Some(dir) = &source.store {
        return Ok(Some(Box::new(ActivationStore::open(dir)?.select(&config.hooks)?)));
    }
    let era = source.era.as_deref().map(str::parse).transpose();
    let gpt = GptArgs {
        model: source.model.clone(),
        tokenizer: source.tokenizer.clone(),
        device: config.device.clone(),
        era: era.map_err(|error| anyhow!("`source.era`: {error}"))?,
    };
    let options = match &source.text_column {
        Some(name) => CorpusOptions { text_column: name.clone() },
        None => CorpusOptions::default(),
    };
    // Before the model is loaded, because a misspelt path is the most likely mistake.
    let corpus = Corpus::open(&source.text, &options)?;
    let scope = open_model(&gpt)?;
    let gpt = scope.model().gpt();
    let width: usize = hook_widths(gpt, &config.hooks)?.iter().map(|(_, width)| width).sum();
    let context_len = source.context.unwrap_or(gpt.config().shape.sequence_len);
    let wanted = config.recipe.steps.saturating_mul(config.recipe.batch as u64);
    let limit = ((wanted as f64 * TOKENS_PER_ACTIVATION) as u64)
        .saturating_add(MIN_SEGMENTS.saturating_mul(context_len as u64));
    fs::create_dir_all(scratch)
        .with_context(|| format!("could not create {}", scratch.display()))?;
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
    if tokens.len() < wanted {
        note(&format!(
            "the texts have {} tokens for {wanted} training activations: each is used about {:.1} \
             times",
            tokens.len(),
            wanted as f64 / tokens.len() as f64
        ));
    }
    let per_segment = contexts_within(SEGMENT_BYTES, context_len, width)
        .min(tokens.contexts() / MIN_SEGMENTS)
        .max(1);
    let hooks = &config.hooks;
    let live = ModelActivations::new(gpt.clone(), tokens, hooks, SpecialTokens::Skip, per_segment)?;
    Ok(Some(Box::new(live)))
}
