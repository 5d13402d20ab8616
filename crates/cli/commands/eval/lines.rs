//! Evaluations as lines of text.

use std::io::Write;

use anyhow::Result;
use nanoscope_evaluate::{EvalTarget, Evaluation, Group, METRICS, Metric};

use crate::terminal::display::{DIM, TOKEN, VALUE, counted, cut, pad, sanitized, width};

/// Widths of the name of a metric and of a number, in cells.
const NAME_CELLS: usize = 36;
const NUMBER_CELLS: usize = 11;
/// The width of a name in the comparison, in cells. Longer names are cut.
const SAE_CELLS: usize = 28;

/// Prints every metric of one SAE.
pub(crate) fn print_one(
    out: &mut impl Write,
    subject: &EvalTarget,
    evaluation: &Evaluation,
    explain: bool,
) -> Result<()> {
    let config = subject.sae().config();
    writeln!(
        out,
        "{TOKEN}{}{TOKEN:#} at {}{}, {}, {}",
        sanitized(subject.name()),
        subject.read(),
        writes(subject),
        architecture(subject),
        counted(config.d_sae() as u64, "feature", "features"),
    )?;
    for group in Group::ALL {
        writeln!(out, "\n{TOKEN}{}{TOKEN:#}  {DIM}{}{DIM:#}", group.name(), group.source())?;
        for (metric, value) in evaluation.metrics().filter(|(metric, _)| metric.group == group) {
            let value = number(value);
            write!(
                out,
                "  {}{VALUE}{value:>NUMBER_CELLS$}{VALUE:#}",
                pad(metric.name, NAME_CELLS)
            )?;
            writeln!(out, "{}", if explain { explained(metric) } else { String::new() })?;
        }
    }
    Ok(())
}

fn explained(metric: &Metric) -> String {
    format!("  {}\n  {DIM}{}{DIM:#}", metric.formula, metric.meaning)
}

/// A column of the comparison.
struct Column {
    title: &'static str,
    group: Group,
    name: &'static str,
}

const COLUMNS: [Column; 8] = [
    Column { title: "L0", group: Group::Sparsity, name: "l0" },
    Column { title: "EV", group: Group::Reconstruction, name: "explained_variance" },
    Column { title: "CE score", group: Group::Performance, name: "ce_loss_score" },
    Column { title: "CE w/ SAE", group: Group::Performance, name: "ce_loss_with_sae" },
    Column { title: "KL score", group: Group::Behavior, name: "kl_div_score" },
    Column { title: "cossim", group: Group::Reconstruction, name: "cossim" },
    Column { title: "l2 ratio", group: Group::Shrinkage, name: "l2_ratio" },
    Column { title: "alive", group: Group::Misc, name: "frac_alive" },
];

/// Prints a table with a row for each SAE.
pub(crate) fn print_comparison(
    out: &mut impl Write,
    results: &[(&EvalTarget, &Evaluation)],
    explain: bool,
) -> Result<()> {
    let words: Vec<[String; 4]> = results
        .iter()
        .map(|(subject, _)| {
            let name = cut(&sanitized(subject.name()), SAE_CELLS);
            let hook = format!("{}{}", subject.read(), writes(subject));
            [name, hook, architecture(subject), subject.sae().config().d_sae().to_string()]
        })
        .collect();
    let titles = ["SAE", "hook point", "architecture", "d_sae"];
    let cells = |column: usize| {
        let rows = words.iter().map(|row| row[column].chars().count());
        rows.chain([titles[column].len()]).max().unwrap_or(0) + 2
    };
    // If all SAEs have one hook point and the line is short, that column is the least useful.
    let fits = (0..4).map(cells).sum::<usize>() + COLUMNS.len() * 10 <= width();
    let same_hook = words.iter().all(|row| row[1] == words[0][1]);
    let shown: Vec<usize> = (0..4).filter(|&at| at != 1 || fits || !same_hook).collect();

    write!(out, "{DIM}")?;
    for &column in &shown {
        write!(out, "{}", pad(titles[column], cells(column)))?;
    }
    for column in &COLUMNS {
        write!(out, "{:>10}", column.title)?;
    }
    writeln!(out, "{DIM:#}")?;
    for (words, (_, evaluation)) in words.iter().zip(results) {
        for &column in &shown {
            write!(out, "{}", pad(&words[column], cells(column)))?;
        }
        for column in &COLUMNS {
            let value = number(evaluation.get(column.group, column.name));
            write!(out, "{VALUE}{value:>10}{VALUE:#}")?;
        }
        writeln!(out)?;
    }
    let (_, first) = results[0];
    let clean = number(first.get(Group::Performance, "ce_loss_without_sae"));
    let tokens = first.get(Group::Others, "tokens_counted");
    writeln!(
        out,
        "{DIM}cross entropy of the model without SAEs: {clean}; counted tokens: {tokens}{DIM:#}"
    )?;
    if explain {
        for column in &COLUMNS {
            let is = |metric: &&Metric| metric.group == column.group && metric.name == column.name;
            let metric = METRICS.iter().find(is).expect("a column shows a metric");
            write!(out, "\n{TOKEN}{}{TOKEN:#} ({})", column.title, metric.name)?;
            writeln!(out, "{}", explained(metric))?;
        }
    }
    Ok(())
}

fn writes(subject: &EvalTarget) -> String {
    if subject.write() == subject.read() {
        String::new()
    } else {
        format!(" → {}", subject.write())
    }
}

fn architecture(subject: &EvalTarget) -> String {
    let architecture = subject.sae().config().architecture();
    let name = architecture.name();
    architecture.k().map_or(name.to_owned(), |k| format!("{name}, k {k}"))
}

/// Formats with four decimals, or in scientific notation where these would not fit. A dash stands
/// for a number that is not finite.
fn number(value: f64) -> String {
    if !value.is_finite() {
        "–".to_owned()
    } else if value.fract() == 0.0 && value.abs() < 1e9 {
        format!("{value:.0}")
    } else if value.abs() < 1e-3 || value.abs() >= 1e6 {
        format!("{value:.3e}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_digits_that_say_something() {
        assert_eq!(number(0.974_26), "0.9743");
        assert_eq!(number(32.0), "32");
        assert_eq!(number(0.000_012_34), "1.234e-5");
        assert_eq!(number(f64::NAN), "–");
    }

    #[test]
    fn every_column_shows_a_metric() {
        for column in &COLUMNS {
            let found = METRICS.iter().any(|m| m.group == column.group && m.name == column.name);
            assert!(found, "{}", column.name);
        }
    }
}
