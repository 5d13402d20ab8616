//! The panel with the features of one token.

use ratatui::text::{Line, Span};

use super::app::App;
use super::theme::{BOLD, DIM, Theme};
use crate::chat::turn::Token;
use crate::terminal::display::{BAR_CELLS, bar, cut, pad, visible};

/// Widths of an activation and of a feature's index with a space, in cells.
const VALUE_CELLS: usize = 7;
const INDEX_CELLS: usize = 7;

/// Draws the current token and its features, in `height` lines of `width` cells.
pub(crate) fn panel(app: &App, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let Some(place) = app.current_token() else {
        let words = match app.session.plan.track.len() {
            0 => "no SAE is tracked",
            _ => "the features of each token appear here",
        };
        return vec![Line::styled(cut(words, width), DIM)];
    };
    let token = app.token(place);
    let mut lines = vec![heading(token, width)];
    if token.features.is_empty() {
        lines.push(Line::styled(cut("no SAE was tracked; try /track all", width), DIM));
        return lines;
    }
    let room = height.saturating_sub(1);
    // Without room for a line and a feature of every hook point, the deepest ones are shown.
    let shown = token.features.len().min((room / 2).max(1));
    let rows = (room / shown).saturating_sub(1).max(1);
    let shade = app.shade();
    let tokens = &app.session.turns[place.turn].variants[place.variant].tokens;
    for (&hook, features) in token.features.iter().skip(token.features.len() - shown) {
        let largest = tokens
            .iter()
            .filter_map(|token| token.features.get(&hook)?.strongest(0, 1).first().copied())
            .fold(f32::MIN_POSITIVE, |max, (_, value)| max.max(value.abs()));
        lines.push(Line::styled(cut(&hook.to_string(), width), DIM));
        for (index, value) in features.strongest(0, rows) {
            let is_shade = shade == Some((hook, index));
            let label = app.session.label((hook, index)).unwrap_or_default();
            let room = width.saturating_sub(BAR_CELLS + VALUE_CELLS + INDEX_CELLS + 2);
            let label_style = if is_shade { theme.label().patch(BOLD) } else { theme.label() };
            lines.push(Line::from(vec![
                Span::styled(bar(value.abs() / largest), theme.value()),
                Span::styled(format!("{value:>VALUE_CELLS$.1} "), theme.value()),
                Span::styled(
                    pad(&format!("#{index}"), INDEX_CELLS - 1),
                    if is_shade { BOLD } else { DIM },
                ),
                Span::raw(" "),
                Span::styled(cut(&label, room), label_style),
            ]));
        }
    }
    lines.truncate(height);
    lines
}

/// The token, its position and its probability.
fn heading(token: &Token, width: usize) -> Line<'static> {
    let likely = match token.logprob {
        Some(logprob) => format!("p {:.2}", logprob.exp()),
        None => "from the prompt".to_owned(),
    };
    let rest = format!("  at {}  {likely}", token.position);
    let name = cut(&visible(&token.name), width.saturating_sub(rest.chars().count()));
    Line::from(vec![Span::styled(name, BOLD), Span::styled(cut(&rest, width), DIM)])
}
