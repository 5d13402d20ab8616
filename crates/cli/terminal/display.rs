//! Layout of tokens and features on lines of text.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use nanoscope_checkpoint::Labels;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, InterpretableModel};
use nanoscope_sae::SparseFeatures;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

pub(crate) const TOKEN: Style = Style::new().bold();
pub(crate) const VALUE: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const LABEL: Style = AnsiColor::Green.on_default();

/// Widths of the token column and of the layer column, in cells.
const TOKEN_CELLS: usize = 13;
const LAYER_CELLS: usize = 4;
/// The width of a full bar, in cells.
pub(crate) const BAR_CELLS: usize = 6;
/// The width of a feature without its label: bar, activation, index and the spaces between them.
const NUMBER_CELLS: usize = BAR_CELLS + 15;
/// The width of a label, in cells. Longer labels are cut.
const LABEL_CELLS: std::ops::RangeInclusive<usize> = 20..=40;
/// The most features shown per token and hook point by default.
const MAX_FEATURES: usize = 3;
/// The width of lines that go to a file or another program.
pub(crate) const PIPED_CELLS: usize = 100;

/// Formats tokens with their features. Bars are relative to the largest activation seen at the hook
/// point so far.
#[derive(Debug)]
pub(crate) struct TokenLines {
    top: usize,
    label_cells: usize,
    largest: std::collections::BTreeMap<HookPoint, f32>,
}

impl TokenLines {
    /// Shows `top` features per token and hook point; by default as many as the terminal has room
    /// for.
    pub(crate) fn new(top: Option<usize>) -> Self {
        Self::with_width(top, width())
    }

    fn with_width(top: Option<usize>, width: usize) -> Self {
        let room = width.saturating_sub(TOKEN_CELLS + LAYER_CELLS);
        let fits = room / (NUMBER_CELLS + LABEL_CELLS.start());
        // If even one feature has no room, its label is cut further. A number of features that was
        // asked for is shown with labels, on several lines of the terminal if need be.
        let (min, top) = match top {
            Some(top) => (*LABEL_CELLS.start(), top),
            None => (0, fits.clamp(1, MAX_FEATURES)),
        };
        let label_cells = (room / top.max(1)).saturating_sub(NUMBER_CELLS);
        let label_cells = label_cells.clamp(min, *LABEL_CELLS.end());
        Self { top, label_cells, largest: std::collections::BTreeMap::new() }
    }

    /// Formats one token: a line for each tracked hook point.
    pub(crate) fn token<'a>(
        &mut self,
        token: &str,
        tracked: impl Iterator<Item = (HookPoint, &'a SparseFeatures, usize, Option<&'a Labels>)>,
    ) -> String {
        let mut out = format!("{TOKEN}{}{TOKEN:#}", pad(&visible(token), TOKEN_CELLS));
        for (at, (hook, features, row, labels)) in tracked.enumerate() {
            if at > 0 {
                let _ = write!(out, "\n{}", " ".repeat(TOKEN_CELLS));
            }
            let strongest = features.strongest(row, self.top);
            let largest = self.largest.entry(hook).or_insert(f32::MIN_POSITIVE);
            let row_max = strongest.iter().fold(0.0_f32, |max, (_, value)| max.max(value.abs()));
            *largest = largest.max(row_max);
            let layer = hook.layer().map_or(String::new(), |layer| format!("L{layer}"));
            let _ = write!(out, "{DIM}{layer:<LAYER_CELLS$}{DIM:#}");
            let last = strongest.len().saturating_sub(1);
            for (at, (index, value)) in strongest.into_iter().enumerate() {
                let bar = bar(value.abs() / *largest);
                let label = labels.and_then(|labels| labels.get(index)).unwrap_or_default();
                let label = cut(&visible(label), self.label_cells);
                let _ = write!(out, " {VALUE}{bar}{VALUE:#}{value:>6.1} {DIM}#{index:<5}{DIM:#}");
                if at < last || !label.is_empty() {
                    let label = if at < last { pad(&label, self.label_cells) } else { label };
                    let _ = write!(out, " {LABEL}{label}{LABEL:#}");
                }
            }
        }
        out
    }
}

/// The text of a token, or its id if the model has no tokenizer.
pub(crate) fn token_text(model: &InterpretableModel, id: u32) -> String {
    let text = model.tokenizer().and_then(|tokenizer| tokenizer.token_text(id));
    text.map_or_else(|| format!("<{id}>"), std::borrow::Cow::into_owned)
}

/// The reason why a text ended, to follow a number of tokens; empty if it reached its requested
/// length.
pub(crate) fn end_note(end: &EndReason) -> String {
    match end {
        EndReason::MaxTokens => String::new(),
        EndReason::Stop { .. } => ", the model ended the text".to_owned(),
        EndReason::Condition { condition, value } => {
            format!(", stopped because {condition} (it was {value:.2})")
        }
        EndReason::ContextFull { capacity } => {
            format!(", the context of {capacity} tokens is full")
        }
        EndReason::NotFinite(found) => format!(", {found}"),
    }
}

/// The width of a line, in cells.
pub(crate) fn width() -> usize {
    terminal_size::terminal_size().map_or(PIPED_CELLS, |(width, _)| width.0.into())
}

/// A bar that fills the fraction `share` of its full length, in eighths of a cell.
pub(crate) fn bar(share: f32) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

    let eighths = (share.clamp(0.0, 1.0) * (BAR_CELLS * 8) as f32).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    pad(&bar, BAR_CELLS)
}

/// `text` with control characters escaped and a leading space made visible.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push('⇥'),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    match out.strip_prefix(' ') {
        Some(rest) => format!("·{rest}"),
        None => out,
    }
}

/// `text` without control characters, except for line breaks and tabs.
pub(crate) fn sanitized(text: &str) -> String {
    let safe = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(safe).collect()
}

/// `text`, cut to `cells`.
pub(crate) fn cut(text: &str, cells: usize) -> String {
    if text.width() <= cells {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut room = cells.saturating_sub(1);
    for grapheme in text.graphemes(true) {
        match room.checked_sub(grapheme.width()) {
            Some(left) => room = left,
            None => break,
        }
        out.push_str(grapheme);
    }
    if cells > 0 {
        out.push('…');
    }
    out
}

/// A number with its noun, which is singular for 1.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `text`, padded with spaces to `cells`.
pub(crate) fn pad(text: &str, cells: usize) -> String {
    let missing = cells.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        assert_eq!(visible(" red\n\u{1b}[31m"), "·red⏎\\u{1b}[31m");
        assert_eq!(sanitized("red\n\u{1b}[31m"), "red\n[31m");
    }

    #[test]
    fn what_is_cut_or_padded_is_measured_in_cells() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("e\u{301}e\u{301}", 2), "e\u{301}e\u{301}");
        assert_eq!(cut("word", 0), "");
        assert_eq!(pad("日本", 6), "日本  ");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(1.0), "██████");
        assert_eq!(bar(0.5), "███   ");
        assert_eq!(bar(1.0 / 12.0), "▌     ");
        assert_eq!(bar(0.0), "      ");
    }

    #[test]
    fn a_line_fits_its_terminal() {
        let hook = HookPoint::ResidPost(3);
        let mut features = SparseFeatures::new(2048);
        features.push_row((0..5).map(|index| (2000 + index, 40.0)));
        for (width, shown) in [(40, 1), (50, 1), (80, 1), (100, 2), (132, 2), (200, 3)] {
            let mut lines = TokenLines::with_width(None, width);
            let line = lines.token(" once", [(hook, &features, 0, None)].into_iter());
            let line = anstream::adapter::strip_str(&line).to_string();
            assert_eq!(line.matches('#').count(), shown, "{width}: {line}");
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}
