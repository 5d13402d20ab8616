//! `nanoscope eval --dtype-report`.

use std::io::Write;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_evaluate::{EvalOptions, EvalTarget, RoundingReport, Subjects, compare_rounded};
use serde_json::{Value, json};

use super::args::EvalArgs;
use super::command::{Text, load_subjects};
use crate::args::MatrixDtypeArg;
use crate::load::open_without_saes;
use crate::preflight::is_cpu;
use crate::terminal::display::{DIM, TOKEN, VALUE, counted, sanitized};
use crate::terminal::progress::DelayedBar;

/// The types that are compared with float32, by their names on the command line.
const TYPES: [(&str, MatrixDtypeArg); 3] =
    [("bf16", MatrixDtypeArg::Bf16), ("f16", MatrixDtypeArg::F16), ("int8", MatrixDtypeArg::Int8)];

/// Compares the model and its SAEs in each type with themselves in float32, on the text.
pub(super) fn dtype_report(args: &EvalArgs) -> Result<()> {
    let (full, saes) = open_as(args, MatrixDtypeArg::F32)?;
    let text = Text::open(args, &full, &saes)?;
    let options =
        EvalOptions { batch_contexts: args.batch_contexts as usize, special: text.special };
    let mut reports = Vec::with_capacity(TYPES.len());
    for (name, dtype) in TYPES {
        // Numbers of 8 bits are in the host's memory only.
        if dtype == MatrixDtypeArg::Int8 && !is_cpu(&args.model.gpt.device) {
            continue;
        }
        let (rounded, rounded_saes) = open_as(args, dtype)?;
        let total = (text.indices.len() * text.tokens.context_len()) as u64;
        let bar = DelayedBar::new("comparing", total, "tokens");
        let contexts = text.indices.iter().map(|&index| text.tokens.context(index));
        let report = compare_rounded(
            Subjects { model: full.model(), saes: &saes },
            Subjects { model: rounded.model(), saes: &rounded_saes },
            contexts,
            options,
            |done| bar.set(done),
        )?;
        drop(bar);
        reports.push((name, report));
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        writeln!(out, "{}", as_json(&reports, &saes))?;
        return Ok(());
    }
    print(&mut out, &reports, &saes)
}

/// Opens the model and the SAEs with matrices of one type.
fn open_as(args: &EvalArgs, dtype: MatrixDtypeArg) -> Result<(Microscope, Vec<EvalTarget>)> {
    let mut model = args.model.clone();
    (model.memory.dtype, model.sae_dtype) = (Some(dtype), Some(dtype));
    let (mut scope, paths) = open_without_saes(&model)?;
    let saes =
        if paths.is_empty() { Vec::new() } else { load_subjects(&model, &mut scope, paths)? };
    Ok((scope, saes))
}

fn as_json(reports: &[(&str, RoundingReport)], saes: &[EvalTarget]) -> Value {
    let report = |(name, report): &(&str, RoundingReport)| {
        let sae = |(sae, share): (&EvalTarget, &f64)| {
            json!({
                "sae": sae.name(),
                "hook": sae.read().to_string(),
                "equal_active_features": share,
            })
        };
        json!({
            "dtype": name,
            "tokens": report.tokens,
            "kl": report.kl,
            "top_1_agreement": report.top_1_agreement,
            "saes": saes.iter().zip(&report.equal_active_features).map(sae).collect::<Vec<_>>(),
        })
    };
    json!({ "against": "f32", "reports": reports.iter().map(report).collect::<Vec<_>>() })
}

/// A divergence. Below 1e-9 it comes from the order of sums in float32.
fn divergence(kl: f64) -> String {
    if kl < 1e-9 { "< 1e-9".to_owned() } else { format!("{kl:.2e}") }
}

fn print(
    out: &mut impl Write,
    reports: &[(&str, RoundingReport)],
    saes: &[EvalTarget],
) -> Result<()> {
    let tokens = reports.first().map_or(0, |(_, report)| report.tokens);
    let tokens = counted(tokens, "counted token", "counted tokens");
    writeln!(out, "{DIM}against float32, on {tokens}{DIM:#}\n")?;
    writeln!(out, "{DIM}dtype{:>12}{:>18}{DIM:#}", "KL", "top-1 agreement")?;
    for (name, report) in reports {
        writeln!(
            out,
            "{TOKEN}{name:<5}{TOKEN:#}{VALUE}{:>12}{:>18}{VALUE:#}",
            divergence(report.kl),
            percent(report.top_1_agreement),
        )?;
    }
    if saes.is_empty() {
        return Ok(());
    }
    write!(out, "\n{DIM}equal active features{DIM:#}")?;
    for (name, _) in reports {
        write!(out, "{DIM}{name:>10}{DIM:#}")?;
    }
    writeln!(out, "  {DIM}SAE{DIM:#}")?;
    for (at, sae) in saes.iter().enumerate() {
        write!(out, "{:21}", "")?;
        for (_, report) in reports {
            write!(out, "{VALUE}{:>10}{VALUE:#}", percent(report.equal_active_features[at]))?;
        }
        writeln!(out, "  {TOKEN}{}{TOKEN:#} at {}", sanitized(sae.name()), sae.read())?;
    }
    Ok(())
}

fn percent(share: f64) -> String {
    if share.is_nan() { "–".to_owned() } else { format!("{:.2} %", 100.0 * share) }
}
