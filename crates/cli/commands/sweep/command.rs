//! The command itself.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_checkpoint::{is_stdout, write_atomically};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::Plan;

use super::args::SweepArgs;
use super::measure::{Question, Sweep, next_logits};
use super::strength::ops;
use super::{json, lines, svg, table};
use crate::commands::metric::token_metric;
use crate::commands::run::one_row;
use crate::export::{TableFormat, check_stdout};
use crate::load::{default_hook, note_indexes, open};
use crate::preflight::{self, Inputs};
use crate::terminal::messages::{Hint, report_to};

pub(crate) fn sweep(args: &SweepArgs) -> Result<()> {
    check_outputs(args)?;
    let ops = ops(&args.op, &args.strength)?;
    let sampling = args.sampling.sampling(args.max_tokens as usize);
    sampling.check()?;
    let scope = open(&args.model)?;
    let features = features(&scope, args)?;
    let tokens = one_row(&scope, &args.input, args.special)?;
    let model = scope.model();
    let logits = next_logits(model, &tokens, &Plan::new())?;
    let metric = token_metric(model, &args.metric, &logits)?;
    let seeds: Vec<u64> =
        (0..u64::from(args.texts)).map(|text| sampling.seed.wrapping_add(text)).collect();
    let question = Question { model, tokens: &tokens, metric, sampling: &sampling, seeds: &seeds };
    let swept = question.measure(&features, &ops)?;

    // The results are printed first, so that they survive a file that cannot be written, and the
    // files are written even if stdout was closed.
    let shown = show(&scope, args, &question, &swept);
    if let Some(path) = &args.table {
        table::write(path, args.table_format, &scope, &swept)?;
    }
    if let Some(path) = &args.svg {
        write_atomically(path, svg::draw(&scope, &question, &swept).as_bytes())?;
    }
    note_indexes(&scope);
    shown?;
    if args.json { Ok(()) } else { report_files(args) }
}

/// Checks, before the model is loaded, that every output can be written and only one goes to stdout.
fn check_outputs(args: &SweepArgs) -> Result<()> {
    let to_stdout = |path: Option<&Path>| path.is_some_and(is_stdout);
    let [table, svg] = [args.table.as_deref(), args.svg.as_deref()];
    check_stdout(&[
        ("--json", args.json),
        ("--table", to_stdout(table)),
        ("--svg", to_stdout(svg)),
    ])?;
    if let Some(path) = table {
        TableFormat::of(path, args.table_format)?;
    }
    preflight::check_outputs(&[("--table", table), ("--svg", svg)], &Inputs::of_model(&args.model))
}

/// The features of the flags, each once, with their hook points.
fn features(scope: &Microscope, args: &SweepArgs) -> Result<Vec<(HookPoint, u32)>> {
    let model = scope.model();
    let default = default_hook(&Plan::new(), model.saes().keys());
    let mut features = Vec::with_capacity(args.feature.len());
    for given in &args.feature {
        let Some(hook) = given.hook.or(default) else {
            return Err(Hint::new("no SAE is loaded to steer", "load one with --sae PATH").into());
        };
        model.sae(hook)?.config().check_feature(given.feature as usize)?;
        if !features.contains(&(hook, given.feature)) {
            features.push((hook, given.feature));
        }
    }
    Ok(features)
}

fn show(
    scope: &Microscope,
    args: &SweepArgs,
    question: &Question<'_>,
    swept: &Sweep,
) -> Result<()> {
    if args.json {
        writeln!(std::io::stdout(), "{}", json::json(scope, question, swept))?;
        return Ok(());
    }
    lines::print(&mut report_to(file_on_stdout(args)), scope, args, question, swept)
}

fn report_files(args: &SweepArgs) -> Result<()> {
    let mut out = report_to(file_on_stdout(args));
    for (what, path) in [("table", &args.table), ("picture", &args.svg)] {
        if let Some(path) = path.as_deref().filter(|path| !is_stdout(path)) {
            writeln!(out, "{what} written to {}", path.display())?;
        }
    }
    Ok(())
}

/// The path of stdout, if a file goes there in place of the lines.
fn file_on_stdout(args: &SweepArgs) -> Option<&Path> {
    let files = [args.table.as_deref(), args.svg.as_deref()];
    files.into_iter().flatten().find(|path| is_stdout(path))
}
