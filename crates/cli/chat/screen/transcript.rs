//! The transcript: prompts, texts and messages as lines.

use nanoscope_hooks::HookPoint;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::app::{App, Item};
use super::theme::{BOLD, DIM, SELECTED, Theme};
use super::wrap::{Piece, Wrapped, wrap};
use crate::chat::mode::Mode;
use crate::chat::session::TokenRef;
use crate::chat::turn::{State, Token, Turn, Variant};
use crate::terminal::display::{counted, end_note, sanitized};

/// The smallest width of each of two texts side by side, in cells. Narrower texts are stacked.
const MIN_COLUMN_CELLS: usize = 18;
const SEPARATOR: &str = " │ ";

const WELCOME: &str = "\
Each token appears with the features that fire on it.

Type the beginning of a story, or a message
/find WORD       find features by label
/feature N       show one of them
/steer N:add:20  steer the next texts with it
/help            list all commands";

/// The transcript in lines.
#[derive(Default)]
pub(crate) struct Transcript {
    /// All lines, and the one with the selected token.
    pub(crate) all: Wrapped,
    /// The number of lines of the last item.
    pub(crate) last: usize,
    /// The number of lines below the last text, which may still grow.
    pub(crate) below: usize,
}

/// Lays out the transcript in lines of `cells`.
pub(crate) fn transcript(app: &App, theme: Theme, cells: usize) -> Transcript {
    let mut transcript = Transcript::default();
    if app.items.is_empty() {
        transcript.all = wrap(&[Piece::new(WELCOME, DIM)], cells);
        return transcript;
    }
    let out = &mut transcript.all;
    for item in &app.items {
        let block = match item {
            Item::Message(text) => wrap(&[Piece::new(sanitized(text), DIM)], cells),
            Item::Error(text) => wrap(&[Piece::new(sanitized(text), theme.error())], cells),
            Item::Turn(at) => TurnLayout::new(app, *at, theme).turn(cells),
        };
        if !out.lines.is_empty() {
            out.lines.push(Line::default());
        }
        let above = out.lines.len();
        transcript.last = block.lines.len();
        transcript.below =
            if matches!(item, Item::Turn(_)) { 0 } else { transcript.below + 1 + transcript.last };
        out.marked = out.marked.or(block.marked.map(|line| above + line));
        out.lines.extend(block.lines);
    }
    transcript
}

/// The layout of one turn.
struct TurnLayout<'a> {
    at: usize,
    turn: &'a Turn,
    theme: Theme,
    selected: Option<TokenRef>,
    shade: Option<(HookPoint, u32)>,
    /// The max activation in the turn of the feature that shades it.
    largest: f32,
}

impl<'a> TurnLayout<'a> {
    fn new(app: &'a App, at: usize, theme: Theme) -> Self {
        let turn = &app.session.turns[at];
        let shade = app.shade();
        let tokens = turn.variants.iter().flat_map(|variant| &variant.tokens);
        let values = tokens.filter_map(|token| Some(token.value(shade?)?.abs()));
        let largest = values.fold(f32::MIN_POSITIVE, f32::max);
        Self { at, turn, theme, selected: app.selected, shade, largest }
    }

    fn turn(&self, cells: usize) -> Wrapped {
        let differing = differing(self.turn);
        let column = cells.saturating_sub(SEPARATOR.chars().count()) / 2;
        let mut out = match self.turn.variants.as_slice() {
            [left, right] if column >= MIN_COLUMN_CELLS => {
                let left = wrap(&self.pieces(0, left, &differing[0]), column);
                let right = wrap(&self.pieces(1, right, &differing[1]), column);
                side_by_side(left, right, column)
            }
            variants => {
                let mut pieces = Vec::new();
                for (at, variant) in variants.iter().enumerate() {
                    if at > 0 {
                        pieces.push(Piece::new("\n", Style::new()));
                    }
                    pieces.extend(self.pieces(at, variant, &differing[at]));
                }
                wrap(&pieces, cells)
            }
        };
        out.lines.extend(wrap(&self.remarks(), cells).lines);
        out
    }

    /// The pieces of a text, with a heading if there are two texts.
    fn pieces(&self, at: usize, variant: &Variant, differing: &[bool]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if self.turn.variants.len() > 1 {
            let name = if variant.is_steered { "steered\n" } else { "unsteered\n" };
            pieces.push(Piece::new(name, DIM));
        }
        let is_chat = self.turn.mode == Mode::Chat;
        if is_chat {
            pieces.push(Piece::new("› ", BOLD));
        }
        if variant.tokens.is_empty() {
            pieces.push(Piece::new(sanitized(&self.turn.typed), BOLD));
        }
        let mut generated = 0;
        for (index, token) in variant.tokens.iter().enumerate() {
            if token.is_generated() && generated == 0 && is_chat {
                pieces.push(Piece::new("\n", Style::new()));
            }
            let differs = token.is_generated() && differing.get(generated) == Some(&true);
            generated += usize::from(token.is_generated());
            let place = TokenRef { turn: self.at, variant: at, token: index };
            pieces.push(self.token(token, place, differs));
        }
        pieces
    }

    fn token(&self, token: &Token, place: TokenRef, differs: bool) -> Piece {
        let mut style = Style::new();
        if !token.is_generated() {
            style = style.patch(BOLD);
        }
        if differs {
            style = style.patch(self.theme.differs());
        }
        if let Some(value) = self.shade.and_then(|shade| token.value(shade)) {
            style = style.patch(self.theme.shade(value.abs() / self.largest));
        }
        let is_marked = self.selected == Some(place);
        if is_marked {
            style = style.patch(SELECTED);
        }
        Piece { text: sanitized(&token.text), style, is_marked }
    }

    /// The reason for the end of each text and the reports of its interventions, a line each.
    fn remarks(&self) -> Vec<Piece> {
        let (theme, turn) = (self.theme, self.turn);
        let mut pieces = match &turn.state {
            State::Failed(why) => vec![Piece::new(sanitized(why), theme.error())],
            State::Stopped => vec![Piece::new("stopped", DIM)],
            State::Running | State::Done => Vec::new(),
        };
        for variant in &turn.variants {
            let why = variant.end.as_ref().map(end_note).unwrap_or_default();
            if !why.is_empty() {
                let line = format!(
                    "{}{why}",
                    counted(variant.generated().count() as u64, "token", "tokens")
                );
                pieces.push(Piece::new(line, DIM));
            }
            pieces.extend(variant.report().map(|line| Piece::new(line, DIM)));
        }
        for at in (1..pieces.len()).rev() {
            pieces.insert(at, Piece::new("\n", Style::new()));
        }
        pieces
    }
}

/// Joins two texts as columns of `column` cells.
fn side_by_side(left: Wrapped, right: Wrapped, column: usize) -> Wrapped {
    let height = left.lines.len().max(right.lines.len());
    let mut right_lines = right.lines.into_iter();
    let mut left_lines = left.lines.into_iter();
    let line = |_| {
        let mut line = left_lines.next().unwrap_or_default();
        let missing = column.saturating_sub(line.width());
        line.spans.push(Span::raw(" ".repeat(missing)));
        line.spans.push(Span::styled(SEPARATOR, DIM));
        line.spans.extend(right_lines.next().unwrap_or_default().spans);
        line
    };
    let lines = (0..height).map(line).collect();
    Wrapped { lines, marked: left.marked.or(right.marked) }
}

/// For each text of a turn, which of its generated tokens differ from the other text.
fn differing(turn: &Turn) -> Vec<Vec<bool>> {
    let ids = |variant: &Variant| variant.generated().map(|token| token.id).collect::<Vec<_>>();
    let ids: Vec<Vec<u32>> = turn.variants.iter().map(ids).collect();
    let mut differing: Vec<Vec<bool>> = ids.iter().map(|ids| vec![true; ids.len()]).collect();
    let [left, right] = ids.as_slice() else {
        return ids.iter().map(|ids| vec![false; ids.len()]).collect();
    };
    let ops = capture_diff_slices(Algorithm::Myers, left, right);
    for (at, op) in ops.iter().enumerate() {
        if let &DiffOp::Equal { old_index, new_index, len } = op {
            // A token in between does not divide a phrase.
            if len == 1 && at > 0 && at + 1 < ops.len() {
                continue;
            }
            differing[0][old_index..old_index + len].fill(false);
            differing[1][new_index..new_index + len].fill(false);
        }
    }
    differing
}
