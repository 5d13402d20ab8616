//! Making an index, for `nanoscope index` and the end of `nanoscope train`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use nanoscope::Microscope;
use nanoscope_corpus::TokenizedCorpus;
use nanoscope_dashboard::{Dashboard, Options};
use nanoscope_hooks::HookPoint;
use nanoscope_index::{FeatureIndex, IndexError, SharesOptions, SteeringShares, WritingOptions};

use crate::terminal::display::counted;
use crate::terminal::messages::note;
use crate::terminal::progress::DelayedBar;
use crate::terminal::signals::InterruptFlag;

/// The number of beginnings of texts that the strengths are measured on, and their tokens.
const PROMPTS: u64 = 3;
const PROMPT_TOKENS: usize = 8;
/// The number of beginnings that features write after, and their tokens: so few that the text can still be
/// about anything.
const WRITING_PROMPTS: u64 = 8;
const WRITING_PROMPT_TOKENS: usize = 4;

/// The measurements of steering that belong to an index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Steering {
    /// None.
    Unmeasured,
    /// The strengths, and the words that each feature writes in this number of texts; by default only where
    /// that takes minutes.
    Measured(Option<usize>),
}

/// Makes the index of the SAE at `hook` on a text.
pub(crate) fn make_index(
    scope: &Microscope,
    hook: HookPoint,
    tokens: &TokenizedCorpus,
    steering: Steering,
    interrupted: &InterruptFlag,
) -> Result<FeatureIndex> {
    let model = scope.model();
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
    if let Steering::Measured(texts) = steering {
        measure(scope, &mut index, tokens, texts, interrupted)?;
    }
    Ok(index)
}

/// The first `len` tokens of the first `n` contexts, to continue with steering.
fn prompts(tokens: &TokenizedCorpus, n: u64, len: usize) -> Result<Vec<Vec<u32>>> {
    let mut prompts = Vec::new();
    for index in 0..tokens.contexts().min(n) {
        let tokens = tokens.context(index)?.tokens;
        prompts.push(tokens[..tokens.len().min(len)].to_vec());
    }
    Ok(prompts)
}

/// Measures the strengths of steering, and the words that features write in `texts` texts each.
fn measure(
    scope: &Microscope,
    index: &mut FeatureIndex,
    tokens: &TokenizedCorpus,
    texts: Option<usize>,
    interrupted: &InterruptFlag,
) -> Result<()> {
    let (model, hook) = (scope.model(), index.hook);
    let options = SharesOptions::for_model(model);
    let mut bar = None;
    let few = prompts(tokens, PROMPTS, PROMPT_TOKENS)?;
    let measured = SteeringShares::measure(model, hook, &few, &options, |done, all| {
        let new = || DelayedBar::new("measuring steering", all as u64, "strengths");
        bar.get_or_insert_with(new).set(done as u64);
        interrupted.control_flow()
    });
    drop(bar);
    match measured {
        Ok(measured) => index.shares = Some(measured),
        Err(error @ IndexError::Unmeasured { .. }) => {
            note(&error.to_string());
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    let options = WritingOptions::default();
    let options = WritingOptions { texts: texts.unwrap_or(options.texts), ..options };
    if options.texts == 0 || texts.is_none() && !options.is_quick(model, hook)? {
        return Ok(());
    }
    let prompts = prompts(tokens, WRITING_PROMPTS, WRITING_PROMPT_TOKENS)?;
    let mut bars: Option<(u64, DelayedBar)> = None;
    Ok(index.measure_writing(model, &prompts, &options, |done, all| {
        if bars.as_ref().is_none_or(|&(of, _)| of != all) {
            bars = Some((all, DelayedBar::new("writing texts", all, "features")));
        }
        if let Some((_, bar)) = &bars {
            bar.set(done);
        }
        interrupted.control_flow()
    })?)
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
