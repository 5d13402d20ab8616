//! A text and the statistics of each feature on it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{FeatureStats, split_into_contexts};
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::TokenBatch;

use crate::load::text_tokenizer;
use crate::prompt::{SpecialTokensArg, encode_text};
use crate::read_file::read_file;
use crate::terminal::progress::DelayedBar;
use crate::texts::default_context;
use nanoscope::Microscope;

/// A text that the model was run on, with the statistics of the features.
pub(crate) struct FeatureText<'s> {
    tokenizer: &'s Tokenizer,
    /// The tokens of all contexts, one after another. The position of a peak is an index into them.
    ids: Vec<u32>,
    /// The start of each context.
    starts: Vec<usize>,
    pub(crate) stats: FeatureStats,
}

/// A token with the text around it in its context.
pub(crate) struct Excerpt {
    pub(crate) token_id: u32,
    pub(crate) before: String,
    pub(crate) token: String,
    pub(crate) after: String,
}

/// The number of tokens in an excerpt before and after its token.
const BEFORE: usize = 32;
const AFTER: usize = 16;

impl<'s> FeatureText<'s> {
    /// Runs the model on `text` and gathers the features at `hook`, with up to `peaks` peaks for
    /// each.
    pub(crate) fn run(
        scope: &'s Microscope,
        hook: HookPoint,
        (text, tokens): (&str, SpecialTokensArg),
        special: bool,
        peaks: usize,
    ) -> Result<Self> {
        let tokenizer = text_tokenizer(scope)?;
        let model = scope.model();
        let ids = encode_text(tokenizer, text, tokens)?;
        let windows =
            split_into_contexts(&ids, tokenizer.bos(), default_context(model.context_len()));
        let sae = model.saes().get(&hook).context("the caller found an SAE at the hook point")?;
        let mut stats = FeatureStats::new(sae.config().d_sae(), peaks);
        let (mut ids, mut starts) = (Vec::new(), Vec::new());
        let all = windows.iter().map(Vec::len).sum::<usize>();
        let bar = DelayedBar::new("reading", all as u64, "tokens");
        for window in windows {
            let tokens = TokenBatch::new(std::slice::from_ref(&window))?;
            let features = model.features_at(hook, &tokens)?;
            let counts = |id: u32| special || !tokenizer.is_special(id);
            let places =
                (ids.len() as u64..).zip(&window).map(|(at, &id)| counts(id).then_some(at));
            stats.add(&features, places);
            starts.push(ids.len());
            ids.extend(window);
            bar.set(ids.len() as u64);
        }
        Ok(Self { tokenizer, ids, starts, stats })
    }

    /// The token at `at` with the text around it.
    pub(crate) fn excerpt(&self, at: u64) -> Excerpt {
        let at = at as usize;
        let window = self.starts.partition_point(|&start| start <= at);
        let end = self.starts.get(window).copied().unwrap_or(self.ids.len());
        let start = self.starts[window - 1];
        let decode =
            |ids: &[u32]| self.tokenizer.decode(ids).expect("the ids were run by the model");
        // `<|bos|>` begins every context, so it is left out.
        let start = start.max(at.saturating_sub(BEFORE));
        let before = &self.ids[start..at];
        let start = start + before.iter().take_while(|&&id| self.tokenizer.is_special(id)).count();
        // Some tokenizers leave out the space at the start of a text, so that only the first of these
        // parts is decoded alone.
        let text = |to: usize| decode(&self.ids[start..to]);
        let part = |from: usize, to: usize| match text(to).strip_prefix(&text(from)) {
            Some(part) => part.to_owned(),
            // A character is divided between tokens.
            None => decode(&self.ids[from..to]),
        };
        Excerpt {
            token_id: self.ids[at],
            before: text(at),
            token: part(at, at + 1),
            after: part(at + 1, end.min(at + 1 + AFTER)),
        }
    }
}

/// The text of one flag, or the content of the file that another flag names.
pub(crate) fn read_text(text: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    let Some(path) = file else { return Ok(text.map(str::to_owned)) };
    let text = read_file(path)?;
    let text = String::from_utf8(text)
        .with_context(|| format!("{} is not valid UTF-8", path.display()))?;
    if text.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(Some(text))
}
