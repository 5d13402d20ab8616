//! The command itself.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_attribute::{Asked, Report, ReportOptions, Rest, Steps};
use nanoscope_checkpoint::is_stdout;

use super::args::{AttributeArgs, RestArg};
use super::html::{self, Page};
use super::{graph, lines};
use crate::commands::run::one_row;
use crate::load::{note_indexes, open};
use crate::preflight::{Inputs, check_outputs};
use crate::terminal::display::{DIM, width};
use crate::terminal::feature_name::Naming;
use crate::terminal::messages::{Hint, report_to};
use crate::terminal::progress::with_spinner;

/// The default number of listed features for people.
const LISTED: usize = 12;
/// The default number of listed features on a page, which tint the text.
const ON_A_PAGE: usize = 50;
/// The number of tokens that the lens lists.
const LENS: usize = 3;

pub(crate) fn attribute(args: &AttributeArgs) -> Result<()> {
    let to_stdout = check_stdout(args)?;
    let outputs = [("--graph", args.graph.as_deref()), ("--html", args.html.as_deref())];
    check_outputs(&outputs, &Inputs::of_model(&args.model))?;
    let scope = open(&args.model)?;
    if scope.model().saes().is_empty() {
        return Err(Hint::new("no SAE is loaded", "load one with --sae PATH").into());
    }
    let tokens = one_row(&scope, &args.input, args.special)?;
    let (asked, position) = asked(&scope, args)?;
    let sources = (!args.track.is_empty()).then_some(&args.track[..]);
    let attribution =
        with_spinner("attributing", || asked.attribute(scope.model(), &tokens, position, sources))?;
    note_indexes(&scope);
    let report = with_spinner("ablating", || {
        Report::new(&attribution, &options(args), || ControlFlow::Continue(()))
    });
    let mut report = report?;
    // Of thousands of features, those that have a name already are named.
    let prepares = if args.json && args.top.is_none() { Prepares::Nothing } else { Prepares::All };
    name_features(&mut report, &scope, prepares);
    let draws = args.graph.is_some() || args.html.is_some() && args.feature.is_none();
    let features = args.graph_features as usize;
    let drawn = draws.then(|| graph::pruned(&attribution, features)).transpose()?;
    // The numbers are printed first, so that they survive a file that cannot be written.
    let shown = show(&report, args, to_stdout);
    if let (Some(path), Some(drawn)) = (&args.graph, &drawn) {
        let graph = graph::to_json(&scope, &attribution, &drawn.graph, &graph::slug(path));
        graph::write(path, &graph)?;
    }
    if let Some(path) = &args.html {
        let graph = drawn.map(|drawn| html::graph(&scope, &attribution, &drawn));
        let mut listed = report.clone();
        listed.features.truncate(args.top.unwrap_or(ON_A_PAGE));
        name_features(&mut listed, &scope, Prepares::All);
        let (model, command) = (args.model.gpt.name(), lines::command(&report, args));
        let command = command.as_deref();
        Page { model: &model, report: &listed, graph, command }.write(path)?;
    }
    shown
}

/// Prints the report as JSON, or for people.
fn show(report: &Report, args: &AttributeArgs, to_stdout: Option<&Path>) -> Result<()> {
    if args.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let mut listed = report.clone();
    listed.features.truncate(args.top.unwrap_or(LISTED));
    let mut out = report_to(to_stdout);
    lines::print(&mut out, &listed, width())?;
    if let Some(command) = lines::command(report, args) {
        writeln!(out, "\n{DIM}to take the first feature away:{DIM:#}")?;
        writeln!(out, "  {command}")?;
    }
    Ok(())
}

/// The causes of the last of `tokens`, in lines of `cells`, for a session.
///
/// # Errors
/// [`AttributeError`](nanoscope_attribute::AttributeError) if no token comes before it.
pub(crate) fn causes_text(
    scope: &Microscope,
    tokens: &[u32],
    is_steered: bool,
    cells: usize,
) -> Result<String> {
    let asked = Asked::Token { target: None, contrast: None };
    let position = tokens.len().saturating_sub(2);
    let attribution = asked.attribute(scope.model(), tokens, Some(position), None)?;
    let options = ReportOptions { top: LISTED, ..ReportOptions::default() };
    let mut report = Report::new(&attribution, &options, || ControlFlow::Continue(()))?;
    name_features(&mut report, scope, Prepares::All);
    let mut text = Vec::new();
    lines::print(&mut text, &report, cells)?;
    if is_steered {
        writeln!(text, "these are the causes without the steering")?;
    }
    if let Some(steer) = &report.steer {
        writeln!(text, "to take the first feature away: /steer {steer}, then /again")?;
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(anstream::adapter::strip_str(&text).to_string())
}

/// The output that goes to stdout, if one does. Refuses two, which would be mixed.
fn check_stdout(args: &AttributeArgs) -> Result<Option<&Path>> {
    let mut outputs = [&args.graph, &args.html].into_iter().flatten();
    let mut to_stdout = outputs.by_ref().filter(|path| is_stdout(path)).map(PathBuf::as_path);
    let (first, second) = (to_stdout.next(), to_stdout.next());
    if second.is_some() || args.json && first.is_some() {
        let hint = "name a file with --graph and --html, or omit --json";
        return Err(Hint::new("two results would go to stdout", hint).into());
    }
    Ok(first)
}

/// The features whose automatic names are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prepares {
    All,
    Nothing,
}

fn name_features(report: &mut Report, scope: &Microscope, prepares: Prepares) {
    report.name_features(|hook, feature| {
        if prepares == Prepares::All {
            scope.prepare(hook, &[(feature, 0.0)]);
        }
        let name = Naming::name(scope, hook, feature)?;
        Some((name.text().to_owned(), name.automatic))
    });
}

/// The subject of the question, and its position if one was given.
fn asked(scope: &Microscope, args: &AttributeArgs) -> Result<(Asked, Option<usize>)> {
    if let Some(at) = args.feature {
        let (hook, feature) = (at.hook, at.feature);
        return Ok((Asked::Feature { hook, feature }, Some(at.position)));
    }
    Ok((args.metric.asked(scope.model())?, args.position))
}

fn options(args: &AttributeArgs) -> ReportOptions {
    ReportOptions {
        exact: args.exact,
        top: args.top.unwrap_or(match (args.json, &args.html) {
            (true, _) => usize::MAX,
            (false, Some(_)) => ON_A_PAGE,
            (false, None) => LISTED,
        }),
        integrate: args.ig_steps.map(|n| Steps::Ends(n.into())),
        direct: args.direct,
        lens: if args.lens { LENS } else { 0 },
        faithfulness: args.faithfulness.map(|rest| match rest {
            RestArg::Zero => Rest::Zero,
            RestArg::Mean => Rest::Mean,
        }),
        ..ReportOptions::default()
    }
}
