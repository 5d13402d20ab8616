//! `nanoscope dashboard`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use chrono::{SecondsFormat, Utc};
use nanoscope_checkpoint::Labels;
use nanoscope_corpus::{SpecialTokens, TokenizedCorpus};
use nanoscope_dashboard::{
    Dashboard, Export, Options, PageOptions, Progress, QUANTILES, Stage, SteerCommand, Written,
    check_output_dir, labels_file,
};
use nanoscope_hooks::HookPoint;
use serde_json::json;

use super::args::DashboardArgs;
use crate::args::ModelArgs;
use crate::commands::features::{model_flags, sae_at};
use crate::commands::interruption::is_interruption;
use crate::load::open;
use crate::preflight::{check_memory, is_cpu, output_folder, real_path, replaceable_folder};
use crate::terminal::display::counted;
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::{DelayedBar, with_spinner};
use crate::terminal::signals::{InterruptFlag, exit_code};
use crate::texts::{check_tokens, default_context, tokenize};
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

/// Builds the dashboard and writes it.
fn make(args: &DashboardArgs) -> Result<()> {
    // The new folder is filled beside the one that it replaces.
    let out = replaceable_folder(&args.out)?;
    check_output_dir(&out)?;
    let neuronpedia = args.neuronpedia.as_deref().map(output_folder).transpose()?;
    if neuronpedia.as_deref().is_some_and(|dir| real_path(dir).starts_with(real_path(&out))) {
        let hint = "choose a folder beside it: a dashboard replaces its whole folder";
        return Err(Hint::new("--neuronpedia is in the folder of --out", hint).into());
    }
    let interrupted = InterruptFlag::watch();
    let corpus = args.texts.open(&interrupted)?;
    let scope = open(&args.model)?;
    let (hook, sae) = sae_at(&scope, args.hook)?;
    let d_sae = sae.config().d_sae();
    let labels = labels(args, &scope, (hook, d_sae))?;
    let options = options(args, d_sae);
    options.check(d_sae)?;

    let name = args.name.clone().unwrap_or_else(|| name(&args.model));
    let context_len = args
        .context
        .map_or_else(|| default_context(scope.model().context_len()), |len| len as usize);
    check_tokens(args.tokens, context_len)?;
    let export = export(args, &name, (hook, d_sae), context_len);
    if let Some(dir) = &neuronpedia {
        export.check(dir, hook)?;
    }

    check_memory(
        "the dashboard",
        dashboard_bytes(&options, d_sae, context_len),
        "lower it with --features A..B, --compact, --examples or --context",
        args.model.memory.ignore_memory || !is_cpu(&args.model.gpt.device),
    )?;

    let limits = (args.context, args.tokens);
    let tokens = tokenize(&scope, &corpus, limits, &interrupted)?;
    let mut bars = StageBar::new(&tokens, options.features.len() as u64);
    let contexts = || Ok((0..tokens.contexts()).map(|index| tokens.context(index)));
    // An empty label hides those of the sources after it.
    let own = |feature| labels.iter().find_map(|labels| labels.get(feature));
    let label = |at, feature| {
        let label = if at == hook { own(feature) } else { scope.label(at, feature) };
        label.map(str::to_owned)
    };
    let mut progress = |progress| {
        bars.set(progress);
        interrupted.control_flow()
    };
    let dashboard =
        Dashboard::build(scope.model(), hook, &options, contexts, label, &mut progress)?;
    drop(bars);

    let flags = Some(model_flags(&args.model));
    let pages = PageOptions {
        steer: SteerCommand { flags, share: scope.names().default_share(hook) },
        ..PageOptions::new(&name, scope.model().tokenizer())
    };
    let written = with_spinner("writing", || dashboard.write(&out, &pages))?;
    let export = match &neuronpedia {
        Some(dir) => {
            let write = || dashboard.write_neuronpedia(dir, scope.model(), &export);
            Some(with_spinner("writing for Neuronpedia", write)?)
        }
        None => None,
    };
    report(args, &dashboard, written, export.as_deref())
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

/// Estimates the memory that a dashboard takes besides the model, in bytes: the examples of its features,
/// the counts of their pairs, and the features of a context.
pub(crate) fn dashboard_bytes(options: &Options, d_sae: usize, context_len: usize) -> u64 {
    /// Bytes of a token of an example, with its activation.
    const TOKEN_BYTES: usize = 4;
    /// Bytes of an example besides its tokens.
    const EXAMPLE_BYTES: usize = 64;
    /// Bytes of a pair, and of all pairs at most.
    const PAIR_BYTES: u64 = 12;
    const MAX_PAIRS_BYTES: u64 = 200_000_000;

    let examples = options.examples + options.per_quantile * QUANTILES;
    let example = EXAMPLE_BYTES + (2 * options.window + 1).min(context_len) * TOKEN_BYTES;
    let features = (options.features.len() as u64).saturating_mul((examples * example) as u64);
    let pairs = (d_sae as u64).saturating_mul(d_sae as u64 / 2).saturating_mul(PAIR_BYTES);
    let context = (context_len as u64).saturating_mul(d_sae as u64 * 8);
    features.saturating_add(pairs.min(MAX_PAIRS_BYTES)).saturating_add(context)
}

/// The progress bar of the current stage.
pub(crate) struct StageBar {
    tokens: u64,
    features: u64,
    shown: Option<(Stage, DelayedBar)>,
}

impl StageBar {
    pub(crate) fn new(tokens: &TokenizedCorpus, features: u64) -> Self {
        Self { tokens: tokens.len() - tokens.dropped(), features, shown: None }
    }

    pub(crate) fn set(&mut self, Progress { stage, done }: Progress) {
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
    let texts: Vec<_> = args.texts.text.iter().filter_map(|path| path.file_name()).collect();
    let texts: Vec<_> = texts.iter().map(|name| name.to_string_lossy()).collect();
    Export {
        model: name.to_owned(),
        set: format!("{kind}-{d_sae}"),
        creator: "nanoscope".to_owned(),
        dataset: texts.join(", "),
        created: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        context_len,
    }
}

fn report(
    args: &DashboardArgs,
    dashboard: &Dashboard,
    written: Written,
    export: Option<&Path>,
) -> Result<()> {
    let Written { page, siblings, unlinked } = written;
    let page = page.canonicalize().unwrap_or(page);
    for error in unlinked {
        let error = anyhow::Error::from(error);
        note(&format!("a dashboard beside this one does not link to it: {error:#}"));
    }
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
            "siblings": siblings,
            "neuronpedia": export,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {} on {}, {} dead, {labelled} labelled",
        dashboard.hook,
        counted(dashboard.features.len() as u64, "feature", "features"),
        counted(dashboard.tokens, "token", "tokens"),
        dashboard.dead(),
    )?;
    if let Some(export) = export {
        writeln!(out, "export for Neuronpedia: {}", export.display())?;
    }
    if siblings > 0 {
        let plural = if siblings == 1 { "" } else { "s" };
        writeln!(out, "linked with {siblings} other dashboard{plural} beside it")?;
    }
    writeln!(out, "open {}", page.display())?;
    Ok(())
}
