//! The picture: texts, the panel of features, the line and what is set.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::app::{App, Seen};
use super::command::COMMANDS;
use super::panel::panel;
use super::texts::texts;
pub(crate) use super::theme::Theme;
use crate::display::{cut, harmless};

/// From this width on the panel is beside the text, else below it.
const WIDE: u16 = 72;
/// Cells of a panel beside the text.
const PANEL: std::ops::RangeInclusive<u16> = 30..=56;
/// Lines from which on there is room for a panel below the text, and those that it takes.
const TALL: u16 = 8;
const PANEL_LINES: std::ops::RangeInclusive<u16> = 3..=8;

/// What stands before the line that is typed.
const PROMPT: &str = "› ";

/// Draws `app`; gives what there was room for.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme) -> Seen {
    let [body, line, status] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)])
            .areas(frame.area());

    let (text, side) = if body.width >= WIDE {
        let width = (body.width * 2 / 5).clamp(*PANEL.start(), *PANEL.end());
        let [text, side] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(body);
        (text, Some((side, Borders::LEFT)))
    } else if body.height >= TALL {
        let lines = (body.height / 3).clamp(*PANEL_LINES.start(), *PANEL_LINES.end()) + 1;
        let [text, side] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(lines)]).areas(body);
        (text, Some((side, Borders::TOP)))
    } else {
        (body, None)
    };
    let seen = draw_texts(frame, app, theme, text);
    if let Some((area, border)) = side {
        let block = Block::new().borders(border).border_style(theme.dim());
        let inside = block.inner(area);
        frame.render_widget(block, area);
        // A cell between the rule and what stands beside it.
        let [_, inside] = Layout::horizontal([
            Constraint::Length(u16::from(border == Borders::LEFT)),
            Constraint::Fill(1),
        ])
        .areas(inside);
        let lines = panel(app, theme, inside.width.into(), inside.height.into());
        frame.render_widget(Paragraph::new(Text::from(lines)), inside);
    }
    draw_line(frame, app, theme, line);
    let words = cut(&status_line(app), status.width.into());
    frame.render_widget(Paragraph::new(Span::styled(words, theme.dim())), status);
    seen
}

fn draw_texts(frame: &mut Frame<'_>, app: &App, theme: Theme, area: Rect) -> Seen {
    // The last column stays free, so that the text does not touch the rule.
    let cells = usize::from(area.width.saturating_sub(1));
    let height = usize::from(area.height);
    let texts = texts(app, theme, cells);
    let total = texts.lines.len();
    let most = total.saturating_sub(height);
    let mut scroll = app.scroll.min(most);
    if let Some(line) = texts.marked.filter(|_| app.is_sought) {
        let below = total - 1 - line;
        // The selected token's line, with one more around it where there is room.
        let (lowest, highest) = ((below + 2).saturating_sub(height), below.saturating_sub(1));
        scroll = scroll.clamp(lowest.min(highest), highest.max(lowest)).min(most);
    }
    let end = total - scroll;
    let shown: Vec<Line<'_>> =
        texts.lines.into_iter().take(end).skip(end.saturating_sub(height)).collect();
    frame.render_widget(Paragraph::new(Text::from(shown)), area);
    Seen { lines: total, height, cells, scroll }
}

fn draw_line(frame: &mut Frame<'_>, app: &App, theme: Theme, area: Rect) {
    let room = usize::from(area.width).saturating_sub(PROMPT.chars().count());
    let (text, cursor) = app.editor.window(room);
    let shown = if app.editor.is_empty() && app.session.turns.is_empty() {
        Span::styled(cut(hint(app), room.saturating_sub(1)), theme.dim())
    } else {
        Span::raw(text.to_owned())
    };
    let line = Line::from(vec![Span::styled(PROMPT, theme.bold()), shown]);
    frame.render_widget(Paragraph::new(line), area);
    let x = area.x + (PROMPT.chars().count() + cursor) as u16;
    if area.height > 0 && x < area.right() {
        frame.set_cursor_position(Position::new(x, area.y));
    }
}

fn hint(app: &App) -> &'static str {
    match app.session.mode {
        super::mode::Mode::Story => "how a story begins, or /help",
        super::mode::Mode::Chat => "a message, or /help",
    }
}

/// What is set, the most important first; help with a command while one is typed.
fn status_line(app: &App) -> String {
    if app.is_leaving {
        return "Ctrl-C once more leaves".to_owned();
    }
    if !app.choices.is_empty() {
        return app.choices.join("  ");
    }
    if let Some(name) = app.editor.text().split_whitespace().next().filter(|w| w.starts_with('/')) {
        let fits = COMMANDS.iter().filter(|usage| usage.name.starts_with(name));
        let exact = COMMANDS.iter().find(|usage| usage.name == name);
        return match exact {
            Some(usage) => format!("{} {}: {}", usage.name, usage.takes, usage.does),
            None => fits.map(|usage| usage.name).collect::<Vec<_>>().join("  "),
        };
    }
    let session = &app.session;
    let mut parts = Vec::new();
    if session.is_running() {
        parts.push("Esc stops".to_owned());
    }
    let take = session.turns.iter().rev().find_map(|turn| turn.takes.last()?.speed());
    if let Some(speed) = take {
        parts.push(format!("{speed:.0} tokens/s"));
    }
    parts.push(session.mode.to_string());
    let sampling = &session.sampling;
    let drawn = if session.draws_seeds { " (random)" } else { "" };
    parts.push(format!("seed {}{drawn}", sampling.seed));
    parts.push(format!("T {}", sampling.temperature));
    parts.extend(sampling.top_k.map(|k| format!("top-k {k}")));
    parts.extend(sampling.top_p.map(|p| format!("top-p {p}")));
    match session.parts.steer.as_slice() {
        [] => parts.push("not steered".to_owned()),
        [one] => parts.push(format!("steer {one}")),
        several => parts.push(format!("{} steered", several.len())),
    }
    if session.compare {
        parts.push("compare".to_owned());
    }
    if let Some((hook, feature)) = app.shade() {
        let label = session.label((hook, feature));
        let label = label.map(|label| format!(" {label}")).unwrap_or_default();
        let layer = hook.layer().map(|layer| format!("L{layer} ")).unwrap_or_default();
        parts.push(format!("shade {layer}#{feature}{label}"));
    }
    harmless(&parts.join(" · "))
}
