//! The command itself.

use std::io::Write;
use std::ops::ControlFlow;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_attribute::{Asked, Report, ReportOptions, Rest, Steps};
use nanoscope_checkpoint::check_writable;

use super::args::AttributeArgs;
use super::{graph, lines};
use crate::commands::features::model_flags;
use crate::commands::run::one_row;
use crate::load::{note_indexes, open};
use crate::terminal::display::{DIM, width};
use crate::terminal::feature_name::Naming;
use crate::terminal::messages::{Hint, check_json, report_to};
use crate::terminal::progress::with_spinner;

/// The default number of listed features for people.
const LISTED: usize = 12;
/// The number of tokens that the lens lists.
const LENS: usize = 3;
/// The largest number of features for which names are computed.
const NAMED: usize = 200;

pub(crate) fn attribute(args: &AttributeArgs) -> Result<()> {
    check_json(args.json, args.graph.as_deref())?;
    if let Some(path) = &args.graph {
        check_writable(path)?;
    }
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
    name(&scope, &mut report);
    if let Some(path) = &args.graph {
        let features = args.graph_features as usize;
        graph::write(path, &graph::graph(&scope, &attribution, features, &graph::slug(path))?)?;
    }
    if args.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    let mut out = report_to(args.graph.as_deref());
    lines::print(&mut out, &report, width())?;
    if let Some(steer) = &report.steer {
        let flags = model_flags(&args.model);
        let prompt = args.input.text.as_ref().or(args.input.prompt.as_ref());
        let prompt = prompt.and_then(|text| shlex::try_quote(text).ok());
        let prompt = prompt.map(|text| format!(" {text}")).unwrap_or_default();
        writeln!(out, "\n{DIM}to take the first feature away:{DIM:#}")?;
        writeln!(out, "  nanoscope run{flags}{prompt} --steer {steer}")?;
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
    name(scope, &mut report);
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

/// Names the features of `report`: of thousands, those that have a name already.
fn name(scope: &Microscope, report: &mut Report) {
    let is_short = report.features.len() <= NAMED;
    report.name_features(|hook, feature| {
        if is_short {
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
        top: args.top.unwrap_or(if args.json { usize::MAX } else { LISTED }),
        integrate: args.ig_steps.map(|n| Steps::Ends(n.into())),
        direct: args.direct,
        lens: if args.lens { LENS } else { 0 },
        faithfulness: args.faithfulness.then_some(Rest::Zero),
        ..ReportOptions::default()
    }
}
