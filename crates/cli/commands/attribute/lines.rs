//! The report as lines of text.

use std::io::Write;

use anyhow::Result;
use nanoscope_attribute::{Report, ReportFeature, ReportSubject, ReportToken};

use super::args::AttributeArgs;
use crate::commands::features::model_flags;
use crate::terminal::display::{DIM, TOKEN, VALUE, bar, cut, quoted_end, visible};
use crate::terminal::feature_name::FeatureName;

/// The cells of a token in the list.
const TOKEN_CELLS: usize = 12;
/// The probability from which on a log probability hardly changes.
const CERTAIN: f64 = 0.9;

/// Prints the question, the strongest features and what they leave open, in lines of `cells`.
pub(super) fn print(out: &mut impl Write, report: &Report, cells: usize) -> Result<()> {
    question(out, report)?;
    features(out, report, cells)?;
    writeln!(out)?;
    for terms in &report.hooks {
        writeln!(
            out,
            "{DIM}{}: {} active, features {:+.3}, bias {:+.3}, error {:+.3} ({:.0} % of what is \
             attributed){DIM:#}",
            terms.hook,
            terms.active,
            terms.features,
            terms.bias,
            terms.error,
            100.0 * terms.error_share,
        )?;
        if let (Some(sum), Some(without)) = (terms.ig, terms.without_features) {
            writeln!(
                out,
                "{DIM}  integrated gradients sum to {sum:+.3}; without its features the metric is \
                 {without:+.3}{DIM:#}"
            )?;
        }
    }
    more(out, report)
}

/// The command that takes the strongest feature away, if there is one.
pub(super) fn command(report: &Report, args: &AttributeArgs) -> Option<String> {
    let steer = report.steer.as_ref()?;
    let flags = model_flags(&args.model);
    let text = args.input.text.as_ref().or(args.input.prompt.as_ref());
    let (prompt, special) = match text {
        Some(text) => {
            let special = if args.special.special_tokens { " --special-tokens" } else { "" };
            (shlex::try_quote(text).ok()?.into_owned(), special)
        }
        None => {
            let ids: Vec<String> = report.tokens.iter().map(ToString::to_string).collect();
            (format!("--tokens {}", ids.join(",")), "")
        }
    };
    Some(format!("nanoscope run{flags}{special} {prompt} --steer {steer}"))
}

fn question(out: &mut impl Write, report: &Report) -> Result<()> {
    let quoted = quoted_end(&report.texts);
    let value = report.metric.value;
    let target = match &report.target {
        ReportSubject::Token(token) => token,
        ReportSubject::Feature(target) => {
            let name = target.label.as_deref().map(|text| FeatureName::new(text, target.auto));
            let name = name.map(|name| format!(" ({})", name.shown(60))).unwrap_or_default();
            writeln!(
                out,
                "{}:{}{name} at position {} of \"{quoted}\": pre-activation {value:.3}",
                target.hook, target.feature, target.position,
            )?;
            return Ok(());
        }
    };
    let of = |token: &ReportToken| {
        let text = visible(&token.text);
        format!("{TOKEN}{text}{TOKEN:#} ({:.1} %)", 100.0 * token.logprob.exp())
    };
    match &report.contrast {
        Some(contrast) => writeln!(
            out,
            "after \"{quoted}\": {} rather than {}, logit difference {value:+.3}",
            of(target),
            of(contrast),
        )?,
        None => {
            writeln!(out, "after \"{quoted}\": {}, log probability {value:.3}", of(target))?;
            if target.logprob.exp() > CERTAIN {
                writeln!(
                    out,
                    "{DIM}the token is nearly certain, so that gradients are small; --contrast TOKEN \
                     says more{DIM:#}"
                )?;
            }
        }
    }
    Ok(())
}

fn features(out: &mut impl Write, report: &Report, cells: usize) -> Result<()> {
    writeln!(
        out,
        "{DIM}{} active features, the {} strongest by gradient{DIM:#}",
        report.found,
        report.features.len()
    )?;
    writeln!(
        out,
        "{DIM}{:>4} {:<TOKEN_CELLS$} {:>9} {:>9}         feature{DIM:#}",
        "pos", "token", "gradient", "ablation"
    )?;
    let largest = report.features.first().map_or(1.0, |feature| feature.attribution.abs());
    for feature in &report.features {
        feature_line(out, report, feature, largest, cells)?;
    }
    if report.features.iter().any(|feature| feature.disagrees) {
        writeln!(
            out,
            "{DIM}! gradient and ablation have opposite signs, or one is more than twice the \
             other{DIM:#}"
        )?;
    }
    Ok(())
}

fn feature_line(
    out: &mut impl Write,
    report: &Report,
    feature: &ReportFeature,
    largest: f32,
    cells: usize,
) -> Result<()> {
    let token = cut(&visible(&report.texts[feature.position]), TOKEN_CELLS);
    let missing = TOKEN_CELLS.saturating_sub(unicode_width::UnicodeWidthStr::width(&*token));
    let exact = feature.ablation.map(|exact| format!("{exact:+.3}")).unwrap_or_default();
    let mark = if feature.disagrees { '!' } else { ' ' };
    let place = format!("{}:{}", feature.hook, feature.feature);
    write!(
        out,
        "{:>4} {TOKEN}{token}{TOKEN:#}{} {VALUE}{:>+9.3}{VALUE:#} {exact:>9}{mark}{} {place}",
        feature.position,
        " ".repeat(missing),
        feature.attribution,
        bar(feature.attribution.abs() / largest),
    )?;
    for (name, number) in [("ig", feature.ig), ("direct", feature.direct)] {
        if let Some(number) = number {
            write!(out, "  {DIM}{name}{DIM:#} {number:+.3}")?;
        }
    }
    if let Some(label) = &feature.label {
        let name = FeatureName::new(label.as_str(), feature.auto);
        let (style, room) = (name.style(), cells.saturating_sub(44 + place.len()));
        write!(out, "  {style}{}{style:#}", name.shown(room.max(20)))?;
    }
    writeln!(out)?;
    Ok(())
}

/// Prints the direct effects, the lens and the faithfulness, if they were computed.
fn more(out: &mut impl Write, report: &Report) -> Result<()> {
    if let Some(components) = &report.components {
        writeln!(out, "\n{DIM}direct effect on the logits before the softcap{DIM:#}")?;
        let contrast = if report.contrast.is_some() { "contrast" } else { "" };
        writeln!(out, "{DIM}{:>9} {contrast:>9}{DIM:#}", "target")?;
        for part in components {
            let contrast = part.contrast.map(|c| format!("{c:+.3}")).unwrap_or_default();
            writeln!(out, "{:>+9.3} {contrast:>9}  {}", part.target, part.name)?;
        }
    }
    if !report.lens.is_empty() {
        writeln!(out, "\n{DIM}logit lens{DIM:#}")?;
        for lens in &report.lens {
            let token =
                |(_, text, p): &(u32, String, f32)| format!("{} {:.0} %", visible(text), 100.0 * p);
            let top: Vec<String> = lens.top.iter().map(token).collect();
            writeln!(out, "{}  {}", lens.hook, top.join(", "))?;
        }
    }
    if let Some(faithfulness) = &report.faithfulness {
        let without = faithfulness.without_features;
        writeln!(
            out,
            "\n{DIM}the metric with the strongest features alone; without any {without:+.3}{DIM:#}",
        )?;
        for kept in &faithfulness.kept {
            let share = kept.share.map(|share| format!("{:>6.0} %", 100.0 * share));
            let (features, value) = (kept.features, kept.value);
            writeln!(out, "{features:>5} {value:>+9.3} {}", share.unwrap_or_default())?;
        }
    }
    Ok(())
}
