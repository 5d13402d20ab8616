//! Sweeps as lines of text.

use std::io::Write;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_runtime::{Fluency, Intervention};

use super::args::SweepArgs;
use super::measure::{FeatureSweep, Measured, Question, Sweep};
use super::strength::{is_neutral, strength, value};
use crate::commands::features::model_flags;
use crate::commands::metric::described;
use crate::terminal::display::{DIM, VALUE, counted, cut, quoted_end, width};
use crate::terminal::feature_name::Naming;

/// The width of the columns, in cells.
const CELLS: usize = 11;

/// Prints a table for each feature.
pub(super) fn print(
    out: &mut impl Write,
    scope: &Microscope,
    args: &SweepArgs,
    question: &Question<'_>,
    swept: &Sweep,
) -> Result<()> {
    let (prompt, metric) = (quoted(question), described(scope.model(), swept.metric));
    writeln!(out, "after \"{prompt}\": {metric}")?;
    let texts = counted(question.seeds.len() as u64, "text", "texts");
    let tokens = counted(question.sampling.max_tokens as u64, "token", "tokens");
    writeln!(
        out,
        "{DIM}with {texts} of at most {tokens} per strength, in nats per token under the unsteered \
         model{DIM:#}"
    )?;
    for feature in &swept.features {
        print_feature(out, scope, swept, feature)?;
    }
    if let (Some(steer), Some(text)) =
        (readable(swept), args.input.text.as_ref().or(args.input.prompt.as_ref()))
        && let Ok(text) = shlex::try_quote(text)
    {
        let special = if args.special.special_tokens { " --special-tokens" } else { "" };
        let flags = model_flags(&args.model);
        writeln!(out, "\n{DIM}to read a text that is steered like this:{DIM:#}")?;
        writeln!(out, "  nanoscope generate{flags}{special} {text} --steer {steer} --compare")?;
    }
    Ok(())
}

/// The end of the prompt.
pub(super) fn quoted(question: &Question<'_>) -> String {
    let texts = question.tokens.iter().map(|&id| question.model.token_text(id));
    quoted_end(&texts.collect::<Vec<_>>())
}

fn print_feature(
    out: &mut impl Write,
    scope: &Microscope,
    swept: &Sweep,
    feature: &FeatureSweep,
) -> Result<()> {
    let place = format!("{}:{}", feature.hook, feature.feature);
    write!(out, "\n{place}")?;
    scope.prepare(feature.hook, &[(feature.feature, 0.0)]);
    if let Some(name) = Naming::name(scope, feature.hook, feature.feature) {
        let (style, room) = (name.style(), width().saturating_sub(place.len() + 2));
        write!(out, "  {style}{}{style:#}", name.shown(room.max(20)))?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "{DIM}{:>CELLS$}{:>CELLS$}{:>CELLS$}{:>CELLS$}{:>CELLS$}{DIM:#}",
        "strength", "metric", "change", "nats", "ratio"
    )?;
    if !feature.points.iter().any(|point| is_neutral(point.op)) {
        let unsteered = &swept.unsteered;
        let fluency = unsteered.nll.map(|nll| Fluency { nll, unsteered_nll: Some(nll) });
        print_row(out, swept, "unsteered", (unsteered, fluency))?;
    }
    for point in &feature.points {
        print_row(out, swept, &strength(point.op), (&point.measured, swept.fluency(point)))?;
    }
    Ok(())
}

fn print_row(
    out: &mut impl Write,
    swept: &Sweep,
    strength: &str,
    (measured, fluency): (&Measured, Option<Fluency>),
) -> Result<()> {
    let change = measured.metric - swept.unsteered.metric;
    let number = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.2}"));
    let nll = number(measured.nll);
    let ratio = number(fluency.as_ref().and_then(Fluency::ratio));
    let broken = if fluency.is_some_and(|fluency| fluency.is_broken()) { "  broken" } else { "" };
    writeln!(
        out,
        "{:>CELLS$}{VALUE}{:>+CELLS$.3}{VALUE:#}{change:>+CELLS$.3}{nll:>CELLS$}{ratio:>CELLS$}{broken}",
        cut(strength, CELLS),
        measured.metric,
    )?;
    Ok(())
}

/// The intervention of the first feature with the largest strength that does not break the texts.
fn readable(swept: &Sweep) -> Option<Intervention> {
    let feature = swept.features.first()?;
    let is_readable = |fluency: Option<Fluency>| fluency.is_some_and(|found| !found.is_broken());
    let candidates = feature.points.iter().filter(|point| !is_neutral(point.op));
    let readable = candidates.filter(|point| is_readable(swept.fluency(point)));
    let strongest = readable.max_by(|a, b| value(a.op).abs().total_cmp(&value(b.op).abs()))?;
    Some(feature.intervention(strongest.op))
}
