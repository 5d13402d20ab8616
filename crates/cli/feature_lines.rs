//! Lists and pages of features for the eye.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use nanoscope_checkpoint::SaePath;

use crate::args::{By, ModelArgs};
use crate::display::{DIM, LABEL, TOKEN, VALUE, cut, visible, width};
use crate::feature_page::print_pages;
use crate::feature_text::{Excerpt, FeatureText};
use crate::features::{Asked, Entry, Found};

/// Cells of an index, and of a number's column.
const INDEX_CELLS: usize = 8;
const NUMBER_CELLS: usize = 8;
/// Cells that a place in a text is given at least; wider lines hold several.
const PLACE_CELLS: usize = 36;

/// Prints the answer; lines are as wide as the terminal.
pub(crate) fn print(out: &mut impl Write, found: &Found<'_>, model: &ModelArgs) -> Result<()> {
    let width = width();
    match &found.asked {
        Asked::Pages(pages) => print_pages(out, found, pages, width)?,
        _ => print_list(out, found, width)?,
    }
    if let Some(steer) = &found.steer {
        let what = if found.entries.len() == 1 { "it" } else { "the first" };
        writeln!(out, "\n{DIM}turn {what} up:{DIM:#}")?;
        writeln!(out, "  nanoscope generate{} --steer {steer}", flags(model))?;
    }
    Ok(())
}

/// A column of numbers.
struct Column<'f> {
    name: &'static str,
    cell: Box<dyn Fn(&Entry) -> String + 'f>,
}

impl<'f> Column<'f> {
    fn new(name: &'static str, cell: impl Fn(&Entry) -> String + 'f) -> Self {
        Self { name, cell: Box::new(cell) }
    }
}

fn print_list(out: &mut impl Write, found: &Found<'_>, width: usize) -> Result<()> {
    writeln!(out, "{DIM}{}{DIM:#}", cut(&title(found), width))?;
    if found.entries.is_empty() {
        return Ok(());
    }
    let columns = columns(found);
    write!(out, "{DIM}{:>INDEX_CELLS$}", "feature")?;
    for column in &columns {
        write!(out, "{:>NUMBER_CELLS$}", column.name)?;
    }
    writeln!(out, "{DIM:#}")?;
    let indent = INDEX_CELLS + NUMBER_CELLS * columns.len() + 2;
    let room = width.saturating_sub(indent);
    for entry in &found.entries {
        write!(out, "{DIM}{:>INDEX_CELLS$}{DIM:#}", format!("#{}", entry.feature))?;
        for column in &columns {
            write!(out, "{VALUE}{:>NUMBER_CELLS$}{VALUE:#}", (column.cell)(entry))?;
        }
        let places = text_shown(found).map(|text| places(text, entry.feature, room));
        let label = found.label(entry.feature).map(|label| cut(&visible(label), room));
        let label = label.map(|label| format!("{LABEL}{label}{LABEL:#}"));
        let lines: Vec<String> = label.into_iter().chain(places.flatten()).collect();
        if !lines.is_empty() {
            write!(out, "  {}", lines.join(&format!("\n{}", " ".repeat(indent))))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The text whose numbers are listed: where nothing depends on a text, only the user's own.
fn text_shown<'f>(found: &'f Found<'_>) -> Option<&'f FeatureText<'f>> {
    let needs_none = matches!(found.asked, Asked::Near(_) | Asked::Grep(_));
    found.text.as_ref().filter(|_| found.own_text || !needs_none)
}

fn title(found: &Found<'_>) -> String {
    let (hook, d_sae) = (found.hook, found.sae.config().d_sae());
    let tokens = |text: &Option<FeatureText<'_>>| {
        let tokens = text.as_ref().map_or(0, |text| text.stats.tokens());
        format!("{tokens} {}", if tokens == 1 { "token" } else { "tokens" })
    };
    let (all, text) = (found.all, tokens(&found.text));
    match &found.asked {
        Asked::Active(by) => {
            let by = match by {
                By::Max => "max",
                By::Mean => "mean",
                By::Count => "fires",
            };
            format!("{hook}: {all} of {d_sae} features fire on {text}; by {by}")
        }
        Asked::Against => {
            let other = tokens(&found.against);
            format!("{hook}: {all} features prefer A ({text}) to B ({other})")
        }
        Asked::Near(feature) => {
            let label = found.label(*feature as u32);
            let label = label.map(|label| format!(" ({})", visible(label))).unwrap_or_default();
            format!("{hook}: nearest to #{feature}{label}")
        }
        Asked::Grep(word) => {
            let labels = found.labels().map_or(0, nanoscope_checkpoint::Labels::len);
            format!("{hook}: {all} of {labels} labels have `{}`", visible(word))
        }
        Asked::Pages(_) => String::new(),
    }
}

fn columns<'f>(found: &'f Found<'_>) -> Vec<Column<'f>> {
    let mut columns = Vec::new();
    let key = |entry: &Entry, digits| entry.key.map(|key| number(key, digits)).unwrap_or_default();
    match (&found.asked, text_shown(found), &found.against) {
        (Asked::Against, Some(a), Some(b)) => {
            let (a, b) = (&a.stats, &b.stats);
            columns.push(Column::new("A − B", move |entry| key(entry, 2)));
            columns.push(Column::new("mean A", |entry| number(a.mean(entry.feature), 2)));
            columns.push(Column::new("mean B", |entry| number(b.mean(entry.feature), 2)));
            columns.push(Column::new("fires A", |entry| percent(a.density(entry.feature))));
            columns.push(Column::new("fires B", |entry| percent(b.density(entry.feature))));
            return columns;
        }
        (Asked::Near(_), ..) => columns.push(Column::new("cosine", move |entry| key(entry, 3))),
        _ => {}
    }
    if let Some(text) = text_shown(found) {
        let stats = &text.stats;
        columns.push(Column::new("max", |entry| {
            number(stats.get(entry.feature).max_activation.into(), 1)
        }));
        columns.push(Column::new("mean", |entry| number(stats.mean(entry.feature), 2)));
        columns.push(Column::new("fires", |entry| percent(stats.density(entry.feature))));
    }
    columns
}

/// `value` with so many `digits` after the point; what would then be nothing but zeros, or not fit
/// its column, with an exponent.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let lost = value != 0.0 && plain.chars().all(|c| "-0.".contains(c));
    if lost || plain.len() >= NUMBER_CELLS { format!("{value:.1e}") } else { plain }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.*} %", usize::from(share > 0.0 && share < 0.1), share * 100.0)
}

/// As many of the places at which a feature is strongest as a line holds.
fn places(text: &FeatureText<'_>, feature: u32, room: usize) -> Option<String> {
    const BETWEEN: usize = 2;

    let most = ((room + BETWEEN) / (PLACE_CELLS + BETWEEN)).max(1);
    let peaks = &text.stats.get(feature).peaks;
    let shown = most.min(peaks.len());
    let cells = (room + BETWEEN) / shown.max(1) - BETWEEN.min(room);
    let cells = cells.min(2 * PLACE_CELLS);
    let places: Vec<String> =
        peaks.iter().take(shown).map(|peak| place(&text.excerpt(peak.at), cells)).collect();
    (!places.is_empty()).then(|| places.join(&" ".repeat(BETWEEN)))
}

/// A token between quotes with what fits around it in `cells`.
pub(crate) fn place(excerpt: &Excerpt, cells: usize) -> String {
    const QUOTES: usize = 2;

    let before = one_line(&excerpt.before);
    let (space, token) = match excerpt.token.strip_prefix(' ') {
        Some("") | None => ("", excerpt.token.as_str()),
        Some(token) => (" ", token),
    };
    let token = cut(&one_line(token), cells.saturating_sub(QUOTES));
    let room = cells.saturating_sub(token.chars().count() + QUOTES);
    let before = format!("{before}{space}");
    // What stands before a token says more of why a feature fires than what comes after it.
    let for_after = (room / 3).max(room.saturating_sub(before.chars().count()));
    let after = match for_after {
        0 => String::new(),
        cells => cut(&one_line(&excerpt.after), cells),
    };
    let before = cut_start(&before, room - after.chars().count());
    format!("{DIM}{before}{DIM:#}«{TOKEN}{token}{TOKEN:#}»{DIM}{after}{DIM:#}")
}

/// As [`visible`], with a space at the start as it is.
fn one_line(text: &str) -> String {
    match text.strip_prefix(' ') {
        Some(rest) => format!(" {}", one_line(rest)),
        None => visible(text),
    }
}

/// `text`, or as much of its end as `cells` hold.
fn cut_start(text: &str, cells: usize) -> String {
    let len = text.chars().count();
    if len <= cells {
        return text.to_owned();
    }
    let kept = cells.saturating_sub(1);
    ['…'].into_iter().take(cells).chain(text.chars().skip(len - kept)).collect()
}

/// The flags with which another command finds the same model, as a shell reads them.
fn flags(model: &ModelArgs) -> String {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let mut flags: Vec<(&str, String)> = Vec::new();
    flags.extend(model.gpt.model.iter().map(|model| ("--model", path(model))));
    flags.extend(model.sae.iter().map(|sae| ("--sae", sae_flag(sae))));
    flags.extend(
        model.sae_dtype.and_then(|dtype| {
            Some(("--sae-dtype", dtype.to_possible_value()?.get_name().to_owned()))
        }),
    );
    flags.extend(model.gpt.tokenizer.iter().map(|tokenizer| ("--tokenizer", path(tokenizer))));
    flags.extend(model.gpt.era.map(|era| ("--era", era.to_string())));
    if model.gpt.device != "auto" {
        flags.push(("--device", model.gpt.device.clone()));
    }
    let flags = flags.into_iter().map(|(flag, value)| format!(" {flag} {}", quoted(&value)));
    flags.collect::<Vec<_>>().concat()
}

/// An SAE as `--sae` takes it.
fn sae_flag(sae: &SaePath) -> String {
    let path = sae.path.to_string_lossy();
    match sae.at {
        Some((read, Some(write))) => format!("{read}:{write}={path}"),
        Some((read, None)) => format!("{read}={path}"),
        None => path.into_owned(),
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@,~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::HookPoint;

    use super::*;

    fn excerpt() -> Excerpt {
        Excerpt {
            before: "Once upon a time, there was a little".to_owned(),
            token: " girl".to_owned(),
            after: " named\nLily".to_owned(),
        }
    }

    fn plain(cells: usize) -> String {
        anstream::adapter::strip_str(&place(&excerpt(), cells)).to_string()
    }

    #[test]
    fn a_place_is_cut_to_its_cells_around_the_token() {
        assert_eq!(plain(80), "Once upon a time, there was a little «girl» named⏎Lily");
        assert_eq!(plain(30), "…e was a little «girl» named⏎…");
        assert_eq!(plain(6), "«girl»");
        assert_eq!(plain(5), "«gi…»");
        for cells in 3..60 {
            assert!(plain(cells).chars().count() <= cells, "{cells}: {}", plain(cells));
        }
    }

    #[test]
    fn an_sae_is_given_as_its_flag_takes_it() {
        let (read, write) = (HookPoint::ResidMid(1), HookPoint::MlpOut(1));
        let at = |at| sae_flag(&SaePath { path: "a.pt".into(), at });

        assert_eq!(at(None), "a.pt");
        assert_eq!(at(Some((read, None))), "blocks.1.hook_resid_mid=a.pt");
        assert_eq!(
            at(Some((read, Some(write)))),
            "blocks.1.hook_resid_mid:blocks.1.hook_mlp_out=a.pt"
        );
    }

    #[test]
    fn a_flag_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted("~/a/b-1.pt"), "~/a/b-1.pt");
        assert_eq!(quoted("my model"), "'my model'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn numbers_that_are_very_small_or_large_have_an_exponent() {
        assert_eq!(number(0.0, 2), "0.00");
        assert_eq!(number(-2.345, 2), "-2.35");
        assert_eq!(number(0.004_21, 2), "4.2e-3");
        assert_eq!(number(-0.000_01, 1), "-1.0e-5");
        assert_eq!(number(12_345.6, 1), "12345.6");
        assert_eq!(number(1_234_567.0, 1), "1.2e6");
    }

    #[test]
    fn small_shares_have_a_digit_more() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.012), "1.2 %");
        assert_eq!(percent(0.25), "25 %");
        assert_eq!(percent(1.0), "100 %");
    }
}
