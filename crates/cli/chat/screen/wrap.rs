//! Wrapping of styled text.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Text in one style.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) style: Style,
    /// True if [`Wrapped::marked`] is to point at this piece.
    pub(crate) is_marked: bool,
}

impl Piece {
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style, is_marked: false }
    }
}

/// Wrapped text.
#[derive(Debug, Default)]
pub(crate) struct Wrapped {
    pub(crate) lines: Vec<Line<'static>>,
    /// The line in which the marked piece begins.
    pub(crate) marked: Option<usize>,
}

struct Glyph<'p> {
    text: &'p str,
    cells: usize,
    style: Style,
}

/// Breaks `pieces` into lines of at most `cells`, between words where possible.
pub(crate) fn wrap(pieces: &[Piece], cells: usize) -> Wrapped {
    let mut wrapped = Wrapped::default();
    let (mut line, mut used): (Vec<Glyph<'_>>, usize) = (Vec::new(), 0);
    for piece in pieces {
        for (at, text) in piece.text.graphemes(true).enumerate() {
            if matches!(text, "\n" | "\r\n") {
                wrapped.lines.push(joined(&line));
                (line, used) = (Vec::new(), 0);
                continue;
            }
            let text = if text == "\t" { " " } else { text };
            let width = text.width();
            if width > cells {
                continue;
            }
            if used + width > cells {
                let is_space = text == " ";
                let broken = line.iter().rposition(|glyph| glyph.text == " ");
                let rest = match broken {
                    Some(space) if !is_space => line.split_off(space + 1),
                    _ => Vec::new(),
                };
                wrapped.lines.push(joined(&line));
                used = rest.iter().map(|glyph| glyph.cells).sum();
                line = rest;
                if is_space {
                    continue;
                }
            }
            if at == 0 && piece.is_marked {
                wrapped.marked = Some(wrapped.lines.len());
            }
            used += width;
            line.push(Glyph { text, cells: width, style: piece.style });
        }
    }
    if !line.is_empty() {
        wrapped.lines.push(joined(&line));
    }
    wrapped
}

/// A line with one span per run of equal style.
fn joined(glyphs: &[Glyph<'_>]) -> Line<'static> {
    let runs = glyphs.chunk_by(|a, b| a.style == b.style);
    let span = |run: &[Glyph<'_>]| {
        let text: String = run.iter().map(|glyph| glyph.text).collect();
        Span::styled(text, run[0].style)
    };
    Line::from(runs.map(span).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(texts: &[&str], cells: usize) -> Vec<String> {
        let pieces: Vec<Piece> = texts.iter().map(|text| Piece::new(*text, Style::new())).collect();
        wrap(&pieces, cells).lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_break_between_words_even_if_a_word_is_of_several_pieces() {
        assert_eq!(wrapped(&["once up", "on a time"], 8), ["once ", "upon a ", "time"]);
        assert_eq!(wrapped(&["one two"], 3), ["one", "two"]);
    }

    #[test]
    fn a_word_that_fits_no_line_is_broken_where_the_line_ends() {
        assert_eq!(wrapped(&["abcdefg h"], 3), ["abc", "def", "g h"]);
        assert_eq!(wrapped(&["日本語"], 5), ["日本", "語"]);
        assert_eq!(wrapped(&["日"], 1), Vec::<String>::new());
    }

    #[test]
    fn line_breaks_and_what_a_line_begins_with_stay() {
        assert_eq!(wrapped(&["a\n\n  b"], 10), ["a", "", "  b"]);
    }

    #[test]
    fn styles_stay_with_their_text_and_the_mark_is_found() {
        let mut marked = Piece::new("upon", Style::new().bold());
        marked.is_marked = true;
        let pieces = [Piece::new("once ", Style::new()), marked, Piece::new("!", Style::new())];

        let wrapped = wrap(&pieces, 6);

        assert_eq!(wrapped.marked, Some(0));
        assert_eq!(wrapped.lines[1].spans[0].content, "upon");
        assert_eq!(wrapped.lines[1].spans[0].style, Style::new().bold());
    }
}
