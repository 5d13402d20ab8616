//! `nanoscope dashboard`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nanoscope_checkpoint::Labels;
use nanoscope_corpus::{
    Corpus, CorpusError, CorpusOptions, SpecialTokens, TokenizeOptions, TokenizedCorpus,
};
use nanoscope_dashboard::{
    Dashboard, DashboardError, Export, Options, Progress, Stage, check_output_dir, labels_file,
};
use nanoscope_hooks::HookPoint;
use serde_json::json;

use super::args::DashboardArgs;
use crate::args::ModelArgs;
use crate::commands::features::sae_at;
use crate::load::{open, text_tokenizer};
use crate::terminal::messages::note;
use crate::terminal::progress::{DelayedBar, with_spinner};
use crate::terminal::signals::{InterruptFlag, exit_code};
use nanoscope::Microscope;

pub(crate) fn dashboard(args: &DashboardArgs) -> Result<ExitCode> {
    match make(args) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if is_interruption(&error) => {
            note("interrupted; nothing was written");
            Ok(exit_code())
        }
        Err(error) => Err(error),
    }
}

/// Returns whether `error` says that a signal ended the work.
fn is_interruption(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(CorpusError::Interrupted))
        || matches!(error.downcast_ref(), Some(DashboardError::Interrupted))
}

/// Builds the dashboard and writes it.
fn make(args: &DashboardArgs) -> Result<()> {
    check_output_dir(&args.out)?;
    let corpus_options = CorpusOptions { text_column: args.text_column.clone() };
    let corpus = Corpus::open(&args.text, &corpus_options)?;
    let interrupted = InterruptFlag::watch();
    let scope = open(&args.model)?;
    let (hook, sae) = sae_at(&scope, args.hook)?;
    let d_sae = sae.config().d_sae();
    let labels = labels(args, &scope, (hook, d_sae))?;
    let options = options(args, d_sae);
    options.check(d_sae)?;

    let name = args.name.clone().unwrap_or_else(|| name(&args.model));
    let context_len = args.context.map_or(scope.model().context_len(), |len| len as usize);
    let export = export(args, &name, (hook, d_sae), context_len);
    if let Some(dir) = &args.neuronpedia {
        export.check(dir, hook)?;
    }

    let tokens = spool(args, &corpus, &scope, context_len, &interrupted)?;
    let mut bars = StageBar::new(&tokens, options.features.len() as u64);
    let contexts = || Ok((0..tokens.contexts()).map(|index| tokens.context(index)));
    // An empty label hides those of the sources after it.
    let label = |feature| labels.iter().find_map(|labels| labels.get(feature)).map(str::to_owned);
    let mut progress = |progress| {
        bars.set(progress);
        interrupted.control_flow()
    };
    let dashboard =
        Dashboard::build(scope.model(), hook, &options, contexts, label, &mut progress)?;
    drop(bars);

    let page =
        with_spinner("writing", || dashboard.write(&args.out, &name, scope.model().tokenizer()))?;
    let export = match &args.neuronpedia {
        Some(dir) => {
            let write = || dashboard.write_neuronpedia(dir, scope.model(), &export);
            Some(with_spinner("writing for Neuronpedia", write)?)
        }
        None => None,
    };
    let page = page.canonicalize().unwrap_or(page);
    report(args, &dashboard, &page, export.as_deref())
}

fn options(args: &DashboardArgs, d_sae: usize) -> Options {
    let mut options = Options::new(args.features.clone().unwrap_or(0..d_sae as u32));
    if args.compact {
        options = options.compact();
    }
    options.examples = args.examples.map_or(options.examples, usize::from);
    options.per_quantile = args.per_quantile.map_or(options.per_quantile, usize::from);
    options.window = args.window.map_or(options.window, usize::from);
    options.special = if args.keep_special { SpecialTokens::Keep } else { SpecialTokens::Skip };
    options.seed = args.seed;
    options
}

/// The sources of labels, in order of precedence.
fn labels(
    args: &DashboardArgs,
    scope: &Microscope,
    (hook, d_sae): (HookPoint, usize),
) -> Result<Vec<Labels>> {
    let mut labels = Vec::new();
    for path in args.labels.iter().cloned().chain(labels_file(&args.out)) {
        labels.push(Labels::read_file(&path, d_sae)?);
    }
    labels.extend(scope.labels().get(&hook).cloned());
    Ok(labels)
}

fn spool(
    args: &DashboardArgs,
    corpus: &Corpus,
    scope: &Microscope,
    context_len: usize,
    interrupted: &InterruptFlag,
) -> Result<TokenizedCorpus> {
    let options = TokenizeOptions { limit: args.tokens, ..TokenizeOptions::new(context_len) };
    let bar = DelayedBar::new("reading texts", corpus.bytes(), "bytes");
    Ok(TokenizedCorpus::build(corpus, text_tokenizer(scope)?, &options, &mut |spooled| {
        bar.set(spooled.bytes);
        interrupted.control_flow()
    })?)
}

/// The progress bar of the current stage.
struct StageBar {
    tokens: u64,
    features: u64,
    shown: Option<(Stage, DelayedBar)>,
}

impl StageBar {
    fn new(tokens: &TokenizedCorpus, features: u64) -> Self {
        Self { tokens: tokens.len() - tokens.dropped(), features, shown: None }
    }

    fn set(&mut self, Progress { stage, done }: Progress) {
        if self.shown.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            // The old bar is cleared before the new one appears.
            self.shown = None;
            let (what, total, unit) = match stage {
                Stage::Surveying => ("reading activation ranges", self.tokens, "tokens"),
                Stage::Gathering => ("gathering examples", self.tokens, "tokens"),
                Stage::Weights => ("comparing weights", self.features, "features"),
            };
            self.shown = Some((stage, DelayedBar::new(what, total, unit)));
        }
        if let Some((_, bar)) = &self.shown {
            bar.set(done);
        }
    }
}

/// The default name of the model: that of its folder, with only characters that an export allows.
fn name(args: &ModelArgs) -> String {
    let Some(path) = &args.gpt.model else { return "nanoscope-demo".to_owned() };
    let path = path.canonicalize().unwrap_or_else(|_| path.clone());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    match name.trim_start_matches('.') {
        "" => "model".to_owned(),
        name => name.to_owned(),
    }
}

fn export(
    args: &DashboardArgs,
    name: &str,
    (hook, d_sae): (HookPoint, usize),
    context_len: usize,
) -> Export {
    let hook = hook.to_string();
    let kind = hook.rsplit('.').next().unwrap_or(&hook).replace("hook_", "");
    let texts: Vec<_> = args.text.iter().filter_map(|path| path.file_name()).collect();
    let texts: Vec<_> = texts.iter().map(|name| name.to_string_lossy()).collect();
    Export {
        model: name.to_owned(),
        set: format!("{kind}-{d_sae}"),
        creator: "nanoscope".to_owned(),
        dataset: texts.join(", "),
        created: now(),
        context_len,
    }
}

/// The current time in RFC 3339.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    rfc_3339(since)
}

/// The time `seconds` after the beginning of 1970, in RFC 3339. Days are converted to a date as in
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn rfc_3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn report(
    args: &DashboardArgs,
    dashboard: &Dashboard,
    page: &Path,
    export: Option<&Path>,
) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let labelled = dashboard.features.iter().filter(|page| page.label.is_some()).count();
    if args.json {
        let line = json!({
            "hook": dashboard.hook.to_string(),
            "features": dashboard.features.len(),
            "dead": dashboard.dead(),
            "labelled": labelled,
            "tokens": dashboard.tokens,
            "contexts": dashboard.contexts,
            "page": page,
            "neuronpedia": export,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {} features on {} tokens, {} dead, {labelled} labelled",
        dashboard.hook,
        dashboard.features.len(),
        dashboard.tokens,
        dashboard.dead(),
    )?;
    if let Some(export) = export {
        writeln!(out, "export for Neuronpedia: {}", export.display())?;
    }
    writeln!(out, "open {}", page.display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_a_date() {
        assert_eq!(rfc_3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc_3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc_3339(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(rfc_3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
