//! `nanoscope eval`.

use std::fmt::Write as _;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_checkpoint::{LoadedSae, SaeOptions, SaePath, load_saes_by_path, write_atomically};
use nanoscope_corpus::{SpecialTokens, TokenizeOptions, TokenizedCorpus};
use nanoscope_evaluate::{
    EvalOptions, EvalTarget, EvaluateError, Evaluation, Group, PlotPoint, RunInfo, details,
    evaluate, plot, saebench,
};
use nanoscope_runtime::InterpretableModel;
use nanoscope_train::{HeldOutText, RunFolder};
use serde_json::Value;

use super::args::EvalArgs;
use super::lines::{print_comparison, print_one};
use crate::args::ModelArgs;
use crate::load::{note_saes, open_without_saes, tokenizer, unwrapped};
use crate::preflight::{Inputs, check_memory, check_outputs, is_cpu};
use crate::terminal::display::counted;
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::{DelayedBar, with_spinner};
use crate::terminal::signals::InterruptFlag;
use crate::texts::{check_tokens, note_passed_over};

/// The longest context used by default.
const MAX_DEFAULT_CONTEXT: usize = 1024;

pub(crate) fn eval(args: &EvalArgs) -> Result<()> {
    let outputs = [("--out", &args.out), ("--plot", &args.plot), ("--features", &args.features)];
    let outputs = outputs.map(|(flag, path)| (flag, path.as_deref()));
    check_outputs(&outputs, &Inputs::of_model(&args.model).and("--text", &args.texts.text))?;
    let (mut scope, paths) = open_without_saes(&args.model)?;
    let subjects = load_subjects(&args.model, &mut scope, paths)?;
    let model = scope.model();
    let Text { tokens, indices, special } = Text::open(args, &scope, &subjects)?;
    let options = EvalOptions { batch_contexts: args.batch_contexts as usize, special };

    let total = (indices.len() * tokens.context_len()) as u64;
    let bar = DelayedBar::new("evaluating", total, "tokens");
    let contexts = indices.iter().map(|&index| tokens.context(index));
    let evaluations = evaluate(model, &subjects, contexts, options, |done| bar.set(done))?;
    drop(bar);

    let run = facts(args, tokens.context_len())?;
    let results: Vec<(&EvalTarget, &Evaluation)> = subjects.iter().zip(&evaluations).collect();
    let core: Vec<Value> =
        results.iter().map(|(subject, of)| saebench(of, subject, options, &run)).collect();
    // The results are printed first, so that they survive a file that cannot be written, and the
    // files are written even if stdout was closed.
    let shown = show(args, &results, &core);
    write(args, &results, core)?;
    shown
}

/// The files to write. They are checked to be writable before anything is computed.
fn show(args: &EvalArgs, results: &[(&EvalTarget, &Evaluation)], core: &[Value]) -> Result<()> {
    let mut out = anstream::stdout().lock();
    if args.json {
        for result in core {
            writeln!(out, "{result}")?;
        }
        return Ok(());
    }
    match results[..] {
        [(subject, evaluation)] => print_one(&mut out, subject, evaluation, args.explain),
        _ => print_comparison(&mut out, results, args.explain),
    }
}

fn write(
    args: &EvalArgs,
    results: &[(&EvalTarget, &Evaluation)],
    mut core: Vec<Value>,
) -> Result<()> {
    if let Some(path) = &args.out {
        let result = if core.len() == 1 { core.remove(0) } else { core.into() };
        write_atomically(path, format!("{result:#}\n").as_bytes())?;
    }
    if let Some(path) = &args.features {
        write_atomically(path, feature_lines(results).as_bytes())?;
    }
    if let Some(path) = &args.plot {
        let point = |(subject, of): &(&EvalTarget, &Evaluation)| PlotPoint {
            name: subject.name().to_owned(),
            l0: of.get(Group::Sparsity, "l0"),
            ce_score: of.get(Group::Performance, "ce_loss_score"),
        };
        write_plot(path, &results.iter().map(point).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Writes the plot. An empty plot is a note and not a failure, because the numbers are still valid.
fn write_plot(path: &Path, points: &[PlotPoint]) -> Result<()> {
    match plot(points) {
        Ok(svg) => Ok(write_atomically(path, svg.as_bytes())?),
        Err(error @ EvaluateError::Plot { .. }) => {
            note(&format!("{error}; {} was not written", path.display()));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Loads the SAEs, path by path, so that several may belong to one hook point.
pub(super) fn load_subjects(
    args: &ModelArgs,
    scope: &mut Microscope,
    paths: Vec<SaePath>,
) -> Result<Vec<EvalTarget>> {
    let gpt = scope.model().gpt();
    let post_norms = Some(gpt.config().post_norms);
    let options = SaeOptions { post_norms, ..args.sae_options() };
    let load = || load_saes_by_path(paths, gpt.device(), &options);
    let saes = with_spinner("loading the SAEs", load)?;
    if saes.is_empty() {
        return Err(Hint::new("no SAE is loaded to evaluate", "load one with --sae PATH").into());
    }
    scope.prepare_for(&saes).map_err(unwrapped)?;
    note_saes(scope);
    let model = scope.model();
    let mut names = names(&saes.iter().map(|sae| sae.path.clone()).collect::<Vec<_>>());
    let distinct = names.iter().collect::<std::collections::BTreeSet<_>>().len();
    if distinct < names.len() {
        // The same file at several hook points.
        for (name, sae) in names.iter_mut().zip(&saes) {
            *name = format!("{name} at {}", sae.hook()?);
        }
    }
    let subject = |(sae, name): (LoadedSae, String)| {
        let hooks = (sae.hook()?, sae.hook_out()?);
        Ok(EvalTarget::new(model, name, hooks, sae.sae)?)
    };
    saes.into_iter().zip(names).map(subject).collect()
}

/// Names for SAEs: the shortest ends of their folders' paths that tell them apart.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts = |path: &Path| -> Vec<String> {
        let dir = path.parent().unwrap_or(path);
        dir.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let all: Vec<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
    let end = |parts: &[String], len: usize| parts[parts.len().saturating_sub(len)..].join("/");
    let deepest = all.iter().map(Vec::len).max().unwrap_or(0);
    for len in 1..=deepest {
        let names: Vec<String> = all.iter().map(|parts| end(parts, len)).collect();
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        if distinct.len() == names.len() && names.iter().all(|name| !name.is_empty()) {
            return names;
        }
    }
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// The tokens to evaluate on.
pub(super) struct Text {
    pub(super) tokens: TokenizedCorpus,
    /// The numbers of the contexts.
    pub(super) indices: Vec<u64>,
    pub(super) special: SpecialTokens,
}

impl Text {
    /// Reads the text, if the memory suffices for an evaluation of `subjects` on it.
    pub(super) fn open(
        args: &EvalArgs,
        scope: &Microscope,
        subjects: &[EvalTarget],
    ) -> Result<Self> {
        let model = scope.model();
        let held_out = args.held_out.as_deref().map(RunFolder::held_out_text).transpose()?;
        let context_len = context_len(args, model.context_len(), held_out.as_ref())?;
        let rows = args.batch_contexts as usize * context_len;
        check_memory(
            "the evaluation",
            evaluation_bytes(model, subjects, rows, args.tokens),
            "lower it with --batch-contexts or --context",
            args.model.memory.ignore_memory || !is_cpu(&args.model.gpt.device),
        )?;
        let tokens = tokenize(args, scope, context_len, held_out.as_ref())?;
        let indices = contexts(args, &tokens, held_out.as_ref())?;
        let special = if args.keep_special { SpecialTokens::Keep } else { SpecialTokens::Skip };
        Ok(Self { tokens, indices, special })
    }
}

/// The number of tokens per context: that of the training run whose held-out text is evaluated on.
fn context_len(args: &EvalArgs, longest: usize, held_out: Option<&HeldOutText>) -> Result<usize> {
    let given = args.context.map(|len| len as usize);
    let Some(HeldOutText { text, .. }) = held_out else {
        return Ok(given.unwrap_or(longest.min(MAX_DEFAULT_CONTEXT)));
    };
    let len = text.context_length;
    if given.is_some_and(|given| given != len) {
        let error = format!("the run of --held-out has contexts of {len} tokens");
        return Err(Hint::new(error, "omit --context").into());
    }
    Ok(len)
}

fn tokenize(
    args: &EvalArgs,
    scope: &Microscope,
    context_len: usize,
    held_out: Option<&HeldOutText>,
) -> Result<TokenizedCorpus> {
    let tokenizer = tokenizer(scope, "name its folder with --tokenizer")?;
    if held_out.is_none() {
        check_tokens(Some(args.tokens), context_len)?;
    }
    // The flag is for the download only: a signal ends an evaluation at once, because there is nothing to save.
    let corpus = args.texts.open(&InterruptFlag::watch())?;
    let limit = held_out.map_or(args.tokens, |held_out| held_out.text.tokens);
    let options = TokenizeOptions { limit: Some(limit), ..TokenizeOptions::new(context_len) };
    let bar = DelayedBar::new("reading", limit, "tokens");
    let tokens = TokenizedCorpus::build(&corpus, tokenizer, &options, &mut |so_far| {
        bar.set(so_far.tokens);
        ControlFlow::Continue(())
    })?;
    drop(bar);
    note_passed_over(tokens.passed_over());
    if held_out.is_none() && tokens.len() >= args.tokens {
        note(&format!(
            "evaluated on the first {} of the text; --tokens N uses more",
            counted(args.tokens, "token", "tokens")
        ));
    }
    Ok(tokens)
}

/// The contexts to evaluate on. Those that a training run held out are known by their numbers, which
/// mean the same only if the tokens are the same.
fn contexts(
    args: &EvalArgs,
    tokens: &TokenizedCorpus,
    held_out: Option<&HeldOutText>,
) -> Result<Vec<u64>> {
    let (Some(held_out), Some(run)) = (held_out, &args.held_out) else {
        return Ok((0..tokens.contexts()).collect());
    };
    if tokens.sha256() != held_out.text.tokens_sha256 {
        let error = format!("the text is not the one that {} was trained on", run.display());
        let hint = "pass the same --text, --text-column, --model and --tokenizer as to the training, \
                    or evaluate on another text without --held-out";
        return Err(Hint::new(error, hint).into());
    }
    let all: Vec<u64> = held_out.contexts().collect();
    let wanted = usize::try_from(args.tokens).unwrap_or(usize::MAX) / tokens.context_len().max(1);
    let count = all.len().min(wanted.max(1));
    // Spread over all of them if there are more than asked for.
    let chosen: Vec<u64> = (0..count).map(|at| all[at * all.len() / count]).collect();
    let of = if count < all.len() { format!(" of {}", all.len()) } else { String::new() };
    note(&format!(
        "evaluated on {}{of} that {} held out",
        counted(count as u64, "context", "contexts"),
        run.display()
    ));
    Ok(chosen)
}

/// Estimates the memory that a batch of `rows` tokens takes, in bytes, of at most `tokens` in all.
fn evaluation_bytes(
    model: &InterpretableModel,
    subjects: &[EvalTarget],
    rows: usize,
    tokens: u64,
) -> u64 {
    /// Values per token and dimension of the model that its passes hold at once.
    const MODEL_COPIES: u64 = 16;
    /// Values per token and feature.
    const FEATURE_COPIES: u64 = 2;

    let widest = subjects.iter().map(|subject| subject.sae().config().d_sae()).max().unwrap_or(0);
    let width = model.gpt().config().shape.n_embd as u64 * MODEL_COPIES;
    (rows as u64).min(tokens).saturating_mul(4 * (width + widest as u64 * FEATURE_COPIES))
}

fn facts(args: &EvalArgs, context_len: usize) -> Result<RunInfo> {
    let joined = |paths: &[PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    let model = args.model.gpt.model.as_ref();
    Ok(RunInfo {
        id: random_id()?,
        epoch_millis: SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64,
        program: format!("nanoscope {}", env!("CARGO_PKG_VERSION")),
        model: model.map_or("nanoscope demo".to_owned(), |path| path.display().to_string()),
        dataset: joined(&args.texts.text),
        context_len,
    })
}

/// A random UUID (version 4).
fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

fn feature_lines(results: &[(&EvalTarget, &Evaluation)]) -> String {
    let mut lines = String::new();
    for (subject, evaluation) in results {
        for mut detail in details(evaluation) {
            detail["sae"] = subject.name().into();
            detail["hook_point"] = subject.read().to_string().into();
            let _ = writeln!(lines, "{detail}");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(paths: &[&str]) -> Vec<String> {
        names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn saes_are_called_by_what_tells_their_folders_apart() {
        let files = ["a/layer_0/best_model.pt", "a/layer_1/best_model.pt"];
        assert_eq!(named(&files), ["layer_0", "layer_1"]);
        let files = ["k16/layer_0/best_model.pt", "k32/layer_0/best_model.pt"];
        assert_eq!(named(&files), ["k16/layer_0", "k32/layer_0"]);
        assert_eq!(named(&["a/one.pt", "a/two.pt"]), ["a/one.pt", "a/two.pt"]);
        assert_eq!(named(&["one.pt"]), ["one.pt"]);
    }

    #[test]
    fn a_plot_of_scores_that_are_not_finite_is_left_out_and_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plot.svg");
        let point = |ce_score| PlotPoint { name: "a".to_owned(), l0: 32.0, ce_score };

        write_plot(&path, &[point(f64::NAN)]).unwrap();
        assert!(!path.exists());
        write_plot(&path, &[point(0.9)]).unwrap();
        assert!(path.is_file());
    }
}
