//! Lists of features as lines of text.

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
use crate::terminal::display::{DIM, VALUE, cut, visible, width};

/// The width of the index column, in cells.
const INDEX_CELLS: usize = 8;
/// The smallest width of an excerpt, in cells. Wider lines hold several.
const PLACE_CELLS: usize = 36;

/// Prints the features found, in lines as wide as the terminal.
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
        let which = if found.entries.len() == 1 { "this feature" } else { "the first feature" };
        writeln!(out, "\n{DIM}to steer with {which}:{DIM:#}")?;
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

    /// The width of the column, in cells.
    fn cells(&self) -> usize {
        NUMBER_CELLS.max(self.name.chars().count() + 2)
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
        write!(out, "{:>1$}", column.name, column.cells())?;
    }
    writeln!(out, "{DIM:#}")?;
    let indent = INDEX_CELLS + columns.iter().map(Column::cells).sum::<usize>() + 2;
    let room = width.saturating_sub(indent);
    for entry in &found.entries {
        write!(out, "{DIM}{:>INDEX_CELLS$}{DIM:#}", format!("#{}", entry.feature))?;
        for column in &columns {
            write!(out, "{VALUE}{:>1$}{VALUE:#}", (column.cell)(entry), column.cells())?;
        }
        let places = text_shown(found).map(|text| places(text, entry.feature, room));
        let name = found.name(entry.feature).map(|name| (name.shown(room), name.style()));
        let name = name.map(|(shown, style)| format!("{style}{shown}{style:#}"));
        let lines: Vec<String> = name.into_iter().chain(places.flatten()).collect();
        if !lines.is_empty() {
            write!(out, "  {}", lines.join(&format!("\n{}", " ".repeat(indent))))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The text whose statistics are listed. Queries that need no text show only one the user supplied.
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
                By::Max => "max activation",
                By::Mean => "mean activation",
                By::Density => "density",
            };
            format!("{hook}: {all} of {d_sae} features active on {text}, by {by}")
        }
        Query::Against => {
            let other = tokens(&found.against);
            format!("{hook}: {all} features more active on A ({text}) than on B ({other})")
        }
        Query::Near(feature) => {
            let name = found.name(*feature as u32);
            let name = name.map(|name| format!(" ({})", name.shown(usize::MAX)));
            format!("{hook}: nearest to #{feature}{}", name.unwrap_or_default())
        }
        Query::Grep(word) => {
            let labels = found.labels().map_or(0, nanoscope_checkpoint::Labels::len);
            format!("{hook}: {all} of {labels} labels contain `{}`", visible(word))
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
            columns.push(Column::new("density A", |entry| percent(a.density(entry.feature))));
            columns.push(Column::new("density B", |entry| percent(b.density(entry.feature))));
            return columns;
        }
        (Query::Near(_), ..) => columns.push(Column::new("cosine", move |entry| key(entry, 3))),
        _ => {}
    }
    if let Some(text) = text_shown(found) {
        let stats = &text.stats;
        columns.push(Column::new("max act", |entry| {
            number(stats.get(entry.feature).max_activation.into(), 1)
        }));
        columns.push(Column::new("mean act", |entry| number(stats.mean(entry.feature), 2)));
        columns.push(Column::new("density", |entry| percent(stats.density(entry.feature))));
    }
    columns
}

/// Excerpts around the tokens on which a feature is strongest, as many as fit into a line.
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

/// The flags that select the same model in another command, quoted for a shell.
pub(crate) fn model_flags(model: &ModelArgs) -> String {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let mut flags: Vec<(&str, String)> = Vec::new();
    flags.extend(model.gpt.model.iter().map(|model| ("--model", path(model))));
    flags.extend(model.sae.iter().map(|sae| ("--sae", sae_flag(sae))));
    flags.extend(
        model.sae_dtype.and_then(|dtype| {
            Some(("--sae-dtype", dtype.to_possible_value()?.get_name().to_owned()))
        }),
    );
    flags.extend(
        model
            .memory
            .dtype
            .and_then(|dtype| Some(("--dtype", dtype.to_possible_value()?.get_name().to_owned()))),
    );
    flags.extend(model.stated.format.map(|format| ("--format", format.to_string())));
    let scale = model.stated.activation_scale;
    flags.extend(scale.map(|scale| ("--activation-scale", scale.to_string())));
    flags.extend(model.gpt.tokenizer.iter().map(|tokenizer| ("--tokenizer", path(tokenizer))));
    flags.extend(model.gpt.era.map(|era| ("--era", era.to_string())));
    if model.gpt.device != "auto" {
        flags.push(("--device", model.gpt.device.clone()));
    }
    let flags = flags.into_iter().map(|(flag, value)| format!(" {flag} {}", shell_quoted(&value)));
    flags.collect::<Vec<_>>().concat()
}

/// An SAE as the value of `--sae`.
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
