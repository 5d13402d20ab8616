//! Pages about single features, as lines of text.

use std::io::Write;

use anstyle::Style;
use anyhow::Result;

use super::excerpts::{format_excerpt, number, percent};
use super::found::{FoundFeatures, Page};
use crate::terminal::display::{DIM, TOKEN, VALUE, cut, visible};

/// The width of the name before a line's content, in cells.
const NAME_CELLS: usize = 12;

/// Prints a page for each feature found.
pub(crate) fn print_pages(
    out: &mut impl Write,
    found: &FoundFeatures<'_>,
    pages: &[Page],
    width: usize,
) -> Result<()> {
    for (at, (entry, page)) in found.entries.iter().zip(pages).enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        print_page(out, found, entry.feature, page, width)?;
    }
    Ok(())
}

fn print_page(
    out: &mut impl Write,
    found: &FoundFeatures<'_>,
    feature: u32,
    page: &Page,
    width: usize,
) -> Result<()> {
    let room = width.saturating_sub(NAME_CELLS).max(1);
    writeln!(out, "{TOKEN}#{feature}{TOKEN:#} {DIM}of {}{DIM:#}", found.hook)?;
    if let Some(name) = found.name(feature) {
        let kind = if name.automatic { "name" } else { "label" };
        wrapped(out, kind, &name.shown(usize::MAX), name.style(), room)?;
    }

    let geometry = &page.geometry;
    let cosine = geometry.encoder_decoder_cosine;
    let cosine = cosine.map(|cosine| format!(", cosine {cosine:.2}")).unwrap_or_default();
    let (decoder, encoder) = (geometry.decoder_norm, geometry.encoder_norm);
    named(out, "norms", &format!("decoder {decoder:.2}, encoder {encoder:.2}{cosine}"))?;

    match &page.effect {
        Ok(effect) => {
            let token = |&(id, by): &(u32, f32)| {
                let sign = if by < 0.0 { "" } else { "+" };
                let text = visible(&found.scope.model().token_text(id));
                format!("{text} {sign}{}", number(by.into(), 2))
            };
            let ends = [("promotes", &effect.promoted), ("suppresses", &effect.suppressed)];
            for (name, tokens) in ends {
                let tokens: Vec<String> = tokens.iter().map(token).collect();
                several(out, name, &filled(&tokens, "  ", room), Style::new())?;
            }
        }
        Err(why) => wrapped(out, "promotes", &why.to_string(), DIM, room)?,
    }

    for (at, &(other, cosine)) in page.nearest.iter().enumerate() {
        let number = format!("{VALUE}{cosine:>6.3}{VALUE:#}");
        let line = match found.name(other) {
            Some(name) => {
                let (shown, style) = (name.shown(room.saturating_sub(15)), name.style());
                format!("{number} {DIM}#{other:<6}{DIM:#} {style}{shown}{style:#}")
            }
            None => format!("{number} {DIM}#{other}{DIM:#}"),
        };
        named(out, if at == 0 { "nearest" } else { "" }, &line)?;
    }

    if let Some(text) = &found.text {
        let (stat, stats) = (text.stats.get(feature), &text.stats);
        let whose = if found.is_user_text { "" } else { " of a story" };
        let (fires, tokens) = (stat.fires, stats.tokens());
        let density =
            format!("{} ({fires} of {tokens} tokens{whose})", percent(stats.density(feature)));
        if fires == 0 {
            named(out, "density", &density)?;
        } else {
            let max = number(stat.max_activation.into(), 1);
            let mean = number(stats.mean(feature), 2);
            named(out, "density", &format!("{density}, max activation {max}, mean {mean}"))?;
        }
        for peak in &stat.peaks {
            let place = format_excerpt(&text.excerpt(peak.at), room.saturating_sub(8));
            named(
                out,
                "",
                &format!("{VALUE}{:>6}{VALUE:#}  {place}", number(peak.value.into(), 1)),
            )?;
        }
    }
    Ok(())
}

/// Prints a text, wrapped to as many lines as it needs.
fn wrapped(out: &mut impl Write, name: &str, text: &str, style: Style, room: usize) -> Result<()> {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    several(out, name, &filled(&words, " ", room), style)
}

fn several(out: &mut impl Write, name: &str, lines: &[String], style: Style) -> Result<()> {
    for (at, line) in lines.iter().enumerate() {
        named(out, if at == 0 { name } else { "" }, &format!("{style}{line}{style:#}"))?;
    }
    Ok(())
}

fn named(out: &mut impl Write, name: &str, line: &str) -> Result<()> {
    writeln!(out, "{DIM}{name:<NAME_CELLS$}{DIM:#}{line}")?;
    Ok(())
}

/// Joins `items` with `between` into lines of at most `cells`. Longer items are cut.
fn filled(items: &[String], between: &str, cells: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        let item = cut(item, cells);
        match lines.last_mut() {
            Some(line) if chars(line) + chars(between) + chars(&item) <= cells => {
                line.push_str(between);
                line.push_str(&item);
            }
            _ => lines.push(item),
        }
    }
    lines
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_filled_and_no_longer_than_they_may_be() {
        let items = ["·dog +1.2", "·cat +1.1", "s", "unbelievable"].map(str::to_owned);

        assert_eq!(filled(&items, "  ", 20), ["·dog +1.2  ·cat +1.1", "s  unbelievable"]);
        assert_eq!(filled(&items, "  ", 9), ["·dog +1.2", "·cat +1.1", "s", "unbeliev…"]);
    }
}
