//! Layout of text on lines of a terminal.

use anstyle::{AnsiColor, Style};
use nanoscope_runtime::EndReason;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

pub(crate) const TOKEN: Style = Style::new().bold();
pub(crate) const VALUE: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const LABEL: Style = AnsiColor::Green.on_default();

/// The width of a full bar, in cells.
pub(crate) const BAR_CELLS: usize = 6;
/// The width of lines that go to a file or another program.
pub(crate) const PIPED_CELLS: usize = 100;

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

/// `text` in one line in which every character is seen, with `·` for spaces at its beginning.
pub(crate) use nanoscope_index::shown_token as visible;

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

/// The number of tokens of a text that are repeated.
const QUOTED: usize = 12;

/// The end of a text, in one line, by the texts of its tokens.
pub(crate) fn quoted_end(tokens: &[String]) -> String {
    let from = tokens.len().saturating_sub(QUOTED);
    format!("{}{}", if from > 0 { "…" } else { "" }, visible(&tokens[from..].concat()))
}

/// A number with its noun, which is singular for 1.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The verb after a number of things.
pub(crate) fn be(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
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
        assert_eq!(visible(" red\n\u{1b}[31m"), "·red↵⟨001B⟩[31m");
        assert_eq!(visible("a\u{202e}b"), "a⟨202E⟩b");
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
}
