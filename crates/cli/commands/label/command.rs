//! `nanoscope label`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_checkpoint::check_writable;
use nanoscope_corpus::TokenizedCorpus;
use nanoscope_dashboard::{Dashboard, Options, fingerprint};
use nanoscope_hooks::HookPoint;
use nanoscope_label::{
    Client, ClientOptions, Endpoint, Estimate, Event, ExplanationFile, LabelError, Material,
    Origin, Samples, Settings, Windows, label as label_features,
};

use super::args::LabelArgs;
use super::features::{out, wanted};
use super::report::{Tally, confirm, print_estimate};
use crate::commands::dashboard::{StageBar, dashboard_bytes};
use crate::commands::features::sae_at;
use crate::commands::interruption::is_interruption;
use crate::load::{open, text_tokenizer};
use crate::preflight::{check_memory, is_cpu};
use crate::terminal::display::{counted, sanitized};
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::DelayedBar;
use crate::terminal::signals::{InterruptFlag, exit_code};
use crate::texts::tokenize;

/// The environment variable with the key if --key-env names no other.
const KEY_ENV: &str = "OPENAI_API_KEY";

pub(crate) fn label(args: &LabelArgs) -> Result<ExitCode> {
    match run(args) {
        Err(error) if is_interruption(&error) => {
            note("interrupted; nothing was sent");
            Ok(exit_code())
        }
        result => result,
    }
}

/// Returns whether `error` says that a signal ended the work before anything was sent.
fn run(args: &LabelArgs) -> Result<ExitCode> {
    args.texts.check()?;
    let endpoint = Endpoint::parse(&args.via)?;
    let (key_name, key) = key(args, &endpoint)?.unzip();
    let options = ClientOptions {
        timeout: Duration::from_secs(args.timeout.into()),
        answer_tokens: args.answer_tokens,
        ..ClientOptions::default()
    };
    let client = Client::new(endpoint.clone(), &args.by, key.as_deref(), options)?;

    let (work, mut file, path) = {
        let interrupted = InterruptFlag::watch();
        let scope = open(&args.model)?;
        let (hook, _) = sae_at(&scope, args.hook)?;
        let path = out(args, &scope, hook)?;
        check_writable(&path)?;
        let (work, file) = prepare(args, &scope, hook, &path, &interrupted)?;
        (work, file, path)
    };
    if work.is_empty() {
        note("no feature is left to label; nothing was sent");
        return Ok(ExitCode::SUCCESS);
    }
    print_estimate(args, work.len(), &endpoint, key_name.as_deref(), &Estimate::of(&work));
    if !confirm(args)? {
        note("nothing was sent");
        return Ok(ExitCode::SUCCESS);
    }
    file.open()?;
    send(args, client, work, &mut file, &path)
}

/// The name of the environment variable with the key, and the key, if there is one.
fn key(args: &LabelArgs, endpoint: &Endpoint) -> Result<Option<(String, String)>> {
    let value = |name: &str| std::env::var(name).ok().filter(|key| !key.trim().is_empty());
    match &args.key_env {
        Some(name) => {
            let key = value(name).ok_or_else(|| {
                let error = format!("the environment variable {name} is not set");
                Hint::new(error, "set it to the API key, or omit --key-env to send none")
            })?;
            Ok(Some((name.clone(), key)))
        }
        None if endpoint.is_readable_on_the_way() => Ok(None),
        None => Ok(value(KEY_ENV).map(|key| (KEY_ENV.to_owned(), key))),
    }
}

/// Chooses the excerpts about the features that are to be labelled, and reads what the file has already.
fn prepare(
    args: &LabelArgs,
    scope: &Microscope,
    hook: HookPoint,
    path: &Path,
    interrupted: &InterruptFlag,
) -> Result<(Vec<Material>, ExplanationFile)> {
    let d_sae = scope.model().sae(hook)?.config().d_sae();
    let samples = Samples {
        shown: args.examples.into(),
        tested: args.tests.into(),
        window: args.window.into(),
        seed: args.seed,
    };
    let limits = (args.context, args.tokens);
    let tokens = tokenize(scope, &args.texts.open(interrupted)?, limits, interrupted)?;
    let context_len = tokens.context_len();
    let settings = Settings { model: &args.by, text: tokens.sha256(), context_len, samples };
    let origin = Origin {
        hook: hook.to_string(),
        sae: fingerprint(scope.model(), hook)?,
        settings: settings.digest(),
    };
    let file = ExplanationFile::read(path, origin)?;
    let wanted = wanted(args, scope.labels().get(&hook), &file, d_sae)?;
    let again = wanted.intersection(file.outdated()).count() as u64;
    if again > 0 {
        let labels = counted(again, "feature has a label", "features have labels");
        note(&format!(
            "{labels} made with another model, another text or other flags, and will be labelled again"
        ));
    }
    let work = excerpts(args, scope, hook, &tokens, samples, &wanted, interrupted)?;
    Ok((work, file))
}

/// The excerpts about the wanted features that fire on the text, the most frequent feature first.
fn excerpts(
    args: &LabelArgs,
    scope: &Microscope,
    hook: HookPoint,
    tokens: &TokenizedCorpus,
    samples: Samples,
    wanted: &BTreeSet<u32>,
    interrupted: &InterruptFlag,
) -> Result<Vec<Material>> {
    let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else {
        return Ok(Vec::new());
    };
    let model = scope.model();
    let options = samples.dashboard(Options::new(first..last + 1));
    let d_sae = model.sae(hook)?.config().d_sae();
    check_memory(
        "choosing excerpts",
        // Once as examples, once as text.
        2 * dashboard_bytes(&options, d_sae, tokens.context_len()),
        "lower it with --features A..B, --examples, --tests or --context",
        args.model.memory.ignore_memory || !is_cpu(&args.model.gpt.device),
    )?;
    let mut bars = StageBar::new(tokens, options.features.len() as u64);
    let contexts = || Ok((0..tokens.contexts()).map(|index| tokens.context(index)));
    let mut progress = |progress| {
        bars.set(progress);
        interrupted.control_flow()
    };
    let dashboard = Dashboard::build(model, hook, &options, contexts, |_, _| None, &mut progress)?;
    drop(bars);

    let read = |index| tokens.context(index);
    let mut bar = None;
    let windows =
        Windows::gather((model, hook), (read, tokens.contexts()), samples.window, |done, all| {
            bar.get_or_insert_with(|| DelayedBar::new("choosing excerpts", all, "contexts"))
                .set(done);
            if interrupted.is_set() { Err(LabelError::Interrupted) } else { Ok(()) }
        })?;
    drop(bar);
    let mut pages: Vec<_> =
        dashboard.features.iter().filter(|page| wanted.contains(&page.feature)).collect();
    pages.sort_by_key(|page| std::cmp::Reverse(page.fires));
    let tokenizer = text_tokenizer(scope)?;
    let choose =
        |page| Material::choose(page, dashboard.density(page), &windows, tokenizer, samples);
    let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
    Ok(pages.into_iter().filter_map(choose).take(limit).collect())
}

/// Sends the questions, and prints and writes the labels.
fn send(
    args: &LabelArgs,
    client: Client,
    work: Vec<Material>,
    file: &mut ExplanationFile,
    path: &Path,
) -> Result<ExitCode> {
    let interrupted = InterruptFlag::watch();
    let total = work.len();
    let mut tally = Tally::default();
    let mut written = Ok(());
    let mut each = |event: Event<'_>| {
        match event {
            Event::Waiting => {}
            Event::Labelled(explained) => {
                if let Err(error) = tally.add(args, explained) {
                    written = Err(error);
                    return ControlFlow::Break(());
                }
            }
            Event::Unusable { feature, answer } => {
                let answer = sanitized(answer).replace('\n', " ");
                note(&format!("feature {feature} has no label: the answer was {answer:?}"));
                tally.unusable.push(feature);
            }
        }
        interrupted.control_flow()
    };
    let result = label_features(client, work, args.concurrency.into(), file, &mut each);
    written?;
    let Err(error) = result else {
        tally.print(args, path)?;
        return Ok(ExitCode::SUCCESS);
    };
    let is_interrupted = matches!(error, LabelError::Interrupted);
    let cause = if is_interrupted { "interrupted" } else { "ended by an error" };
    note(&format!(
        "{cause}: {} of {total} features are labelled, in {}; the same command continues",
        tally.labelled,
        path.display()
    ));
    if is_interrupted { Ok(exit_code()) } else { Err(error.into()) }
}
