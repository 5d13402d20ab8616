//! Making an index, for `nanoscope index` and the end of `nanoscope train`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use nanoscope::Microscope;
use nanoscope_corpus::{Corpus, TokenizeOptions, TokenizedCorpus};
use nanoscope_dashboard::{Dashboard, Options};
use nanoscope_hooks::HookPoint;
use nanoscope_index::{FeatureIndex, IndexError, SharesOptions, SteeringShares};

use crate::load::text_tokenizer;
use crate::terminal::display::counted;
use crate::terminal::progress::DelayedBar;
use crate::terminal::signals::InterruptFlag;
use crate::texts::{default_context, note_passed_over};

/// The number of texts that steering is measured on, and of tokens with which each begins.
const PROMPTS: u64 = 2;
const PROMPT_TOKENS: usize = 8;

/// A text in contexts of tokens.
pub(crate) struct IndexedText {
    tokens: TokenizedCorpus,
}

impl IndexedText {
    /// Reads at most `limit` tokens of `corpus`, in contexts of `context` tokens.
    pub(crate) fn read(
        scope: &Microscope,
        corpus: &Corpus,
        limit: u64,
        context: Option<usize>,
        interrupted: &InterruptFlag,
    ) -> Result<Self> {
        let context = context.unwrap_or_else(|| default_context(scope.model().context_len()));
        let options = TokenizeOptions { limit: Some(limit), ..TokenizeOptions::new(context) };
        let bar = DelayedBar::new("reading texts", corpus.bytes(), "bytes");
        let tokens =
            TokenizedCorpus::build(corpus, text_tokenizer(scope)?, &options, &mut |spooled| {
                bar.set(spooled.bytes);
                interrupted.control_flow()
            })?;
        note_passed_over(tokens.passed_over());
        Ok(Self { tokens })
    }

    /// The beginnings of the first contexts, to continue with steering.
    fn prompts(&self) -> Result<Vec<Vec<u32>>> {
        let mut prompts = Vec::new();
        for index in 0..self.tokens.contexts().min(PROMPTS) {
            let tokens = self.tokens.context(index)?.tokens;
            prompts.push(tokens[..tokens.len().min(PROMPT_TOKENS)].to_vec());
        }
        Ok(prompts)
    }
}

/// Makes the index of the SAE at `hook`, with measured strengths of steering if `steering` is set.
pub(crate) fn make_index(
    scope: &Microscope,
    hook: HookPoint,
    text: &IndexedText,
    steering: bool,
    interrupted: &InterruptFlag,
) -> Result<FeatureIndex> {
    let (model, tokens) = (scope.model(), &text.tokens);
    let d_sae = model.sae(hook)?.config().d_sae();
    // Each token is read twice, and each feature's weights once.
    let read = tokens.len() - tokens.dropped();
    let bar = DelayedBar::new("indexing", 2 * read + d_sae as u64, "steps");
    let mut done_before = 0;
    let mut last = 0;
    let mut progress = |progress: nanoscope_dashboard::Progress| {
        if progress.done < last {
            done_before += last;
        }
        last = progress.done;
        bar.set(done_before + progress.done);
        interrupted.control_flow()
    };
    let contexts = || Ok((0..tokens.contexts()).map(|index| tokens.context(index)));
    let label = |at, feature| scope.label(at, feature).map(str::to_owned);
    let options = Options::for_index(d_sae as u32);
    let dashboard = Dashboard::build(model, hook, &options, contexts, label, &mut progress)?;
    drop(bar);
    let mut index = dashboard.feature_index(model.tokenizer());
    if steering {
        let prompts = text.prompts()?;
        let options = SharesOptions::for_model(model);
        let mut bar = None;
        let measured = SteeringShares::measure(model, hook, &prompts, &options, |done, all| {
            let new = || DelayedBar::new("measuring steering", all as u64, "strengths");
            bar.get_or_insert_with(new).set(done as u64);
        })?;
        index.shares = Some(measured);
    }
    Ok(index)
}

/// Writes the index to `out`, or to the first place for the SAE's index that can be written.
pub(crate) fn save(
    scope: &Microscope,
    index: &FeatureIndex,
    out: Option<&Path>,
    is_kept: bool,
) -> Result<PathBuf> {
    if let Some(path) = out {
        index.write(path)?;
        return Ok(path.to_owned());
    }
    let Some(sae) = scope.labels().get(&index.hook).and_then(|labels| labels.sae_file()) else {
        bail!("the SAE at {} is not from a file", index.hook);
    };
    let mut wrong: Option<IndexError> = None;
    for path in FeatureIndex::places(sae, index.fingerprint, is_kept) {
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder
            .map_err(|source| IndexError::Io { path: path.clone(), source })
            .and_then(|()| index.write(&path));
        match written {
            Ok(()) => return Ok(path),
            Err(error) => drop(wrong.get_or_insert(error)),
        }
    }
    match wrong {
        Some(error) => Err(error.into()),
        None => bail!("there is no folder for the index; name a file with --out"),
    }
}

/// A line about an index.
pub(crate) fn index_line(index: &FeatureIndex) -> String {
    let dead = index.iter().filter(|entry| entry.fires == 0).count();
    let mut line = format!(
        "{}: {} on {}, {dead} of them silent there",
        index.hook,
        counted(index.d_sae() as u64, "feature", "features"),
        counted(index.tokens, "token", "tokens"),
    );
    if let Some(shares) = &index.shares {
        let _ = write!(line, "; steer with {:.0} % of the norm", 100.0 * shares.default);
        match shares.breaks {
            Some(breaks) => {
                let _ = write!(line, ", most texts break at {:.0} %", 100.0 * breaks);
            }
            None => line.push_str(", no share up to 100 % breaks most texts"),
        }
    }
    line
}
