//! Lists and pages of features for the eye.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use nanoscope_checkpoint::SaePath;

use super::args::By;
use super::excerpts::{NUMBER_CELLS, format_excerpt, number, percent};
use super::found::{Entry, FoundFeatures, Query};
use super::page::print_pages;
use super::text::FeatureText;
use crate::args::ModelArgs;
use crate::terminal::display::{DIM, LABEL, VALUE, cut, visible, width};

/// Cells of an index, and of a number's column.
const INDEX_CELLS: usize = 8;
/// Cells that a place in a text is given at least; wider lines hold several.
const PLACE_CELLS: usize = 36;

/// Prints the answer; lines are as wide as the terminal.
pub(crate) fn print(
    out: &mut impl Write,
    found: &FoundFeatures<'_>,
    model: &ModelArgs,
) -> Result<()> {
    let width = width();
    match &found.query {
        Query::Pages(pages) => print_pages(out, found, pages, width)?,
        _ => print_list(out, found, width)?,
    }
    if let Some(steer) = &found.steer {
        let what = if found.entries.len() == 1 { "it" } else { "the first" };
        writeln!(out, "\n{DIM}turn {what} up:{DIM:#}")?;
        writeln!(out, "  nanoscope generate{} --steer {steer}", model_flags(model))?;
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

fn print_list(out: &mut impl Write, found: &FoundFeatures<'_>, width: usize) -> Result<()> {
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
fn text_shown<'f>(found: &'f FoundFeatures<'_>) -> Option<&'f FeatureText<'f>> {
    let needs_none = matches!(found.query, Query::Near(_) | Query::Grep(_));
    found.text.as_ref().filter(|_| found.is_user_text || !needs_none)
}

fn title(found: &FoundFeatures<'_>) -> String {
    let (hook, d_sae) = (found.hook, found.sae.config().d_sae());
    let tokens = |text: &Option<FeatureText<'_>>| {
        let tokens = text.as_ref().map_or(0, |text| text.stats.tokens());
        format!("{tokens} {}", if tokens == 1 { "token" } else { "tokens" })
    };
    let (all, text) = (found.all, tokens(&found.text));
    match &found.query {
        Query::Active(by) => {
            let by = match by {
                By::Max => "max",
                By::Mean => "mean",
                By::Density => "density",
            };
            format!("{hook}: {all} of {d_sae} features fire on {text}; by {by}")
        }
        Query::Against => {
            let other = tokens(&found.against);
            format!("{hook}: {all} features prefer A ({text}) to B ({other})")
        }
        Query::Near(feature) => {
            let label = found.label(*feature as u32);
            let label = label.map(|label| format!(" ({})", visible(label))).unwrap_or_default();
            format!("{hook}: nearest to #{feature}{label}")
        }
        Query::Grep(word) => {
            let labels = found.labels().map_or(0, nanoscope_checkpoint::Labels::len);
            format!("{hook}: {all} of {labels} labels have `{}`", visible(word))
        }
        Query::Pages(_) => String::new(),
    }
}

fn columns<'f>(found: &'f FoundFeatures<'_>) -> Vec<Column<'f>> {
    let mut columns = Vec::new();
    let key = |entry: &Entry, digits| entry.key.map(|key| number(key, digits)).unwrap_or_default();
    match (&found.query, text_shown(found), &found.against) {
        (Query::Against, Some(a), Some(b)) => {
            let (a, b) = (&a.stats, &b.stats);
            columns.push(Column::new("A − B", move |entry| key(entry, 2)));
            columns.push(Column::new("mean A", |entry| number(a.mean(entry.feature), 2)));
            columns.push(Column::new("mean B", |entry| number(b.mean(entry.feature), 2)));
            columns.push(Column::new("fires A", |entry| percent(a.density(entry.feature))));
            columns.push(Column::new("fires B", |entry| percent(b.density(entry.feature))));
            return columns;
        }
        (Query::Near(_), ..) => columns.push(Column::new("cosine", move |entry| key(entry, 3))),
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

/// As many of the places at which a feature is strongest as a line holds.
fn places(text: &FeatureText<'_>, feature: u32, room: usize) -> Option<String> {
    const BETWEEN: usize = 2;

    let most = ((room + BETWEEN) / (PLACE_CELLS + BETWEEN)).max(1);
    let peaks = &text.stats.get(feature).peaks;
    let shown = most.min(peaks.len());
    let cells = (room + BETWEEN) / shown.max(1) - BETWEEN.min(room);
    let cells = cells.min(2 * PLACE_CELLS);
    let places: Vec<String> = peaks
        .iter()
        .take(shown)
        .map(|peak| format_excerpt(&text.excerpt(peak.at), cells))
        .collect();
    (!places.is_empty()).then(|| places.join(&" ".repeat(BETWEEN)))
}

/// The flags with which another command finds the same model, as a shell reads them.
fn model_flags(model: &ModelArgs) -> String {
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
    let flags = flags.into_iter().map(|(flag, value)| format!(" {flag} {}", shell_quoted(&value)));
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

fn shell_quoted(text: &str) -> String {
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
        assert_eq!(shell_quoted("~/a/b-1.pt"), "~/a/b-1.pt");
        assert_eq!(shell_quoted("my model"), "'my model'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(shell_quoted(""), "''");
    }
}
