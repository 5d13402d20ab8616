//! Drawing of a frame: the transcript, the panel of features, the edited line and the status line.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::app::{App, Viewport};
use super::panel::panel;
use super::theme::{BOLD, DIM, Theme};
use super::transcript::transcript;
use crate::chat::command::COMMANDS;
use crate::terminal::display::{cut, sanitized};

/// The width from which on the panel is beside the text, in cells; else it is below.
const WIDE_CELLS: u16 = 72;
/// The range of widths of a panel beside the text, in cells.
const PANEL_CELLS: std::ops::RangeInclusive<u16> = 30..=56;
/// The height from which on there is room for a panel below the text, in lines, and the range of
/// heights of the panel.
const TALL_LINES: u16 = 8;
const PANEL_LINES: std::ops::RangeInclusive<u16> = 3..=8;

/// The prompt before the edited line.
const PROMPT: &str = "› ";

/// Draws `app`. Returns the viewport.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme) -> Viewport {
    let [body, line, status] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)])
            .areas(frame.area());

    let (text, side) = if body.width >= WIDE_CELLS {
        let width = (body.width * 2 / 5).clamp(*PANEL_CELLS.start(), *PANEL_CELLS.end());
        let [text, side] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(body);
        (text, Some((side, Borders::LEFT)))
    } else if body.height >= TALL_LINES {
        let lines = (body.height / 3).clamp(*PANEL_LINES.start(), *PANEL_LINES.end()) + 1;
        let [text, side] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(lines)]).areas(body);
        (text, Some((side, Borders::TOP)))
    } else {
        (body, None)
    };
    let viewport = draw_texts(frame, app, theme, text);
    if let Some((area, border)) = side {
        let block = Block::new().borders(border).border_style(DIM);
        let inside = block.inner(area);
        frame.render_widget(block, area);
        // A blank cell separates the rule from the panel.
        let [_, inside] = Layout::horizontal([
            Constraint::Length(u16::from(border == Borders::LEFT)),
            Constraint::Fill(1),
        ])
        .areas(inside);
        let lines = panel(app, theme, inside.width.into(), inside.height.into());
        frame.render_widget(Paragraph::new(Text::from(lines)), inside);
    }
    draw_line(frame, app, line);
    let words = cut(&status_line(app, viewport.scroll), status.width.into());
    frame.render_widget(Paragraph::new(Span::styled(words, DIM)), status);
    viewport
}

fn draw_texts(frame: &mut Frame<'_>, app: &App, theme: Theme, area: Rect) -> Viewport {
    // The last column stays blank, so that the text does not touch the rule.
    let cells = usize::from(area.width.saturating_sub(1));
    let height = usize::from(area.height);
    let transcript = transcript(app, theme, cells);
    let total = transcript.all.lines.len();
    let most = total.saturating_sub(height);
    let mut scroll = app.scroll;
    if scroll > transcript.below && cells == app.viewport.cells {
        // The visible lines stay in place while the text below them grows.
        scroll = scroll.saturating_add(total.saturating_sub(app.viewport.lines));
    }
    if app.show_from_start {
        scroll = transcript.last.saturating_sub(height);
    }
    if let Some(line) = transcript.all.marked.filter(|_| app.scroll_to_selection) {
        let below = total - 1 - line;
        // Keeps the line of the selected token in view, with a line around it if there is room.
        let (lowest, highest) = ((below + 2).saturating_sub(height), below.saturating_sub(1));
        scroll = scroll.clamp(lowest.min(highest), highest.max(lowest));
    }
    let scroll = scroll.min(most);
    let end = total - scroll;
    let shown: Vec<Line<'_>> =
        transcript.all.lines.into_iter().take(end).skip(end.saturating_sub(height)).collect();
    frame.render_widget(Paragraph::new(Text::from(shown)), area);
    Viewport { lines: total, height, cells, scroll }
}

fn draw_line(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let room = usize::from(area.width).saturating_sub(PROMPT.chars().count());
    let (text, cursor) = app.editor.window(room);
    let shown = if app.editor.is_empty() && app.session.turns.is_empty() {
        Span::styled(cut(hint(app), room.saturating_sub(1)), DIM)
    } else {
        Span::raw(text.to_owned())
    };
    let line = Line::from(vec![Span::styled(PROMPT, BOLD), shown]);
    frame.render_widget(Paragraph::new(line), area);
    let x = area.x + (PROMPT.chars().count() + cursor) as u16;
    if area.height > 0 && x < area.right() {
        frame.set_cursor_position(Position::new(x, area.y));
    }
}

fn hint(app: &App) -> &'static str {
    match app.session.mode {
        crate::chat::mode::Mode::Story => "type the beginning of a story, or /help",
        crate::chat::mode::Mode::Chat => "type a message, or /help",
    }
}

/// The settings, most important first; while a command is typed, help for it.
fn status_line(app: &App, below: usize) -> String {
    if app.is_leaving {
        return "press Ctrl-C again to exit".to_owned();
    }
    if !app.choices.is_empty() {
        return app.choices.join("  ");
    }
    if let Some(name) = app.editor.text().split_whitespace().next().filter(|w| w.starts_with('/')) {
        let fits = COMMANDS.iter().filter(|usage| usage.name.starts_with(name));
        let exact = COMMANDS.iter().find(|usage| usage.name == name);
        return match exact {
            Some(usage) => format!("{} {}: {}", usage.name, usage.arguments, usage.does),
            None => fits.map(|usage| usage.name).collect::<Vec<_>>().join("  "),
        };
    }
    let session = &app.session;
    let mut parts = Vec::new();
    if below > 0 {
        parts.push(format!("{below} more lines (PgDn)"));
    }
    if session.is_running() {
        parts.push("Esc stops".to_owned());
    }
    let variant = session.turns.iter().rev().find_map(|turn| turn.variants.last()?.speed());
    if let Some(speed) = variant {
        parts.push(format!("{speed:.0} tokens/s"));
    }
    parts.push(session.mode.to_string());
    let sampling = &session.sampling;
    let drawn = if session.random_seeds { " (random)" } else { "" };
    parts.push(format!("seed {}{drawn}", sampling.seed));
    parts.push(format!("T {}", sampling.temperature));
    parts.extend(sampling.top_k.map(|k| format!("top-k {k}")));
    parts.extend(sampling.top_p.map(|p| format!("top-p {p}")));
    match session.plan.interventions.as_slice() {
        [] => parts.push("unsteered".to_owned()),
        [one] => parts.push(format!("steer {one}")),
        several => parts.push(format!("{} steered", several.len())),
    }
    if session.is_comparing() && !session.plan.interventions.is_empty() {
        parts.push("compare".to_owned());
    }
    if let Some((hook, feature)) = app.shade() {
        let label = session.label((hook, feature));
        let label = label.map(|label| format!(" {label}")).unwrap_or_default();
        let layer = hook.layer().map(|layer| format!("L{layer} ")).unwrap_or_default();
        parts.push(format!("shade {layer}#{feature}{label}"));
    }
    sanitized(&parts.join(" · "))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;
    use ratatui::style::Color;

    use super::*;
    use crate::chat::session::TokenRef;
    use crate::chat::test_session::{events, session};

    fn app_with(variants: &[&[&str]]) -> App {
        let mut app = App::new(session());
        if variants.len() > 1 {
            app.submit("/steer 7:add:27");
            app.submit("/compare on");
        }
        app.submit("Once");
        for event in events(variants) {
            app.on_worker_event(event);
        }
        app
    }

    fn drawn(app: &App, theme: Theme, (width, height): (u16, u16)) -> (Buffer, Viewport) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut viewport = Viewport::default();
        terminal.draw(|frame| viewport = draw(frame, app, theme)).unwrap();
        (terminal.backend().buffer().clone(), viewport)
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let width = usize::from(buffer.area.width);
        let row = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>()
        };
        buffer.content.chunks(width).map(|cells| row(cells).trim_end().to_owned()).collect()
    }

    fn screen(app: &App, size: (u16, u16)) -> Vec<String> {
        lines(&drawn(app, Theme::COLOUR, size).0)
    }

    #[test]
    fn a_wide_terminal_has_the_features_of_the_newest_token_beside_the_text() {
        let screen = screen(&app_with(&[&[" there", " was", " a"]]), (110, 8));

        assert!(screen[0].starts_with("Once there was a "), "{screen:#?}");
        assert!(screen[0].contains("│ ·a  at 4  p 0.61"), "{screen:#?}");
        assert!(screen[1].contains("│ blocks.3.hook_resid_post"), "{screen:#?}");
        assert!(screen[2].contains("│ ██████    3.0 #7     a dog"), "{screen:#?}");
        assert!(screen[3].contains("│ ████      2.0 #9     dogs ⟨001B⟩[31mred"), "{screen:#?}");
        assert!(screen[6].starts_with("›"), "{screen:#?}");
        assert!(screen[7].starts_with("100 tokens/s · story · seed 42 · T 1"), "{screen:#?}");
    }

    #[test]
    fn a_narrow_terminal_has_them_below_and_a_low_one_leaves_them_out() {
        let app = app_with(&[&[" there", " was", " a"]]);

        let narrow = screen(&app, (40, 12));
        assert_eq!(narrow[0], "Once there was a", "{narrow:#?}");
        assert_eq!(narrow[6], "─".repeat(40), "{narrow:#?}");
        assert_eq!(narrow[7], "·a  at 4  p 0.61", "{narrow:#?}");
        assert_eq!(narrow[9], "██████    3.0 #7     a dog", "{narrow:#?}");
        let low = screen(&app, (40, 5));
        assert_eq!(low[0], "Once there was a");
        assert!(low[1..3].iter().all(String::is_empty), "{low:#?}");
    }

    #[test]
    fn no_size_is_too_small_to_draw() {
        let mut app = app_with(&[&[" there", " was", "日本語"], &[" a", " dog"]]);
        app.editor.insert("日本語 and more than fits");
        app.selected = Some(TokenRef { turn: 0, variant: 0, token: 1 });
        app.scroll_to_selection = true;
        for width in 1..=90 {
            for height in 1..=14 {
                drawn(&app, Theme::PLAIN, (width, height));
            }
        }
    }

    #[test]
    fn two_texts_stand_side_by_side_with_what_differs_marked() {
        let app = app_with(&[&[" was", " a", " cat"], &[" was", " a", " dog"]]);

        let (buffer, _) = drawn(&app, Theme::COLOUR, (60, 20));
        let screen = lines(&buffer);

        let at = screen.iter().position(|line| line.starts_with("unsteered")).unwrap();
        assert!(screen[at].contains("│ steered"), "{screen:#?}");
        let texts = &screen[at + 1];
        assert!(texts.starts_with("Once was a cat"), "{screen:#?}");
        assert!(texts.contains("│ Once was a dog"), "{screen:#?}");
        let line = buffer.content.chunks(60).nth(at + 1).unwrap();
        // Shading sets a foreground colour of its own; feature 7 is strongest on the tokens that
        // differ.
        let app = {
            let mut app = app;
            app.submit("/shade off");
            app
        };
        let (plain, _) = drawn(&app, Theme::COLOUR, (60, 20));
        let at = lines(&plain).iter().position(|line| line.starts_with("unsteered")).unwrap();
        let unshaded = plain.content.chunks(60).nth(at + 1).unwrap();
        let inks: Vec<Color> = unshaded[..14].iter().map(|cell| cell.fg).collect();
        assert!(inks[..10].iter().all(|ink| *ink == Color::Reset), "{inks:?}");
        assert!(inks[11..].iter().all(|ink| *ink == Color::Cyan), "{inks:?}");
        assert_eq!(line[13].bg, Color::Indexed(220));
    }

    #[test]
    fn tokens_are_shaded_by_how_much_of_the_feature_they_have() {
        let app = app_with(&[&[" a", " b", " c", " d"]]);

        let (buffer, _) = drawn(&app, Theme::COLOUR, (40, 5));
        let grounds: Vec<Color> = (4..12).map(|x| buffer[(x, 0)].bg).collect();

        let expected = [136, 136, 178, 178, 220, 220, 220, 220].map(Color::Indexed);
        assert_eq!(grounds, expected);
        assert_eq!(buffer[(0, 0)].bg, Color::Reset);
    }

    #[test]
    fn without_colours_there_are_none() {
        let mut app = app_with(&[&[" was", " a"], &[" was", " dog"]]);
        app.submit("/nonsense");
        app.selected = Some(TokenRef { turn: 0, variant: 0, token: 1 });

        let (buffer, _) = drawn(&app, Theme::PLAIN, (100, 24));

        for cell in &buffer.content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{cell:?}");
        }
    }

    #[test]
    fn a_long_text_is_scrolled_and_the_selected_token_brought_into_view() {
        let texts: Vec<String> = (0..60).map(|at| format!(" word{at}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut app = app_with(&[&texts]);
        let size = (40, 6);
        let has = |app: &App, word: &str| {
            screen(app, size).iter().any(|line| line.split(' ').any(|found| found == word))
        };
        assert!(has(&app, "word59") && !has(&app, "word3"));

        app.selected = Some(TokenRef { turn: 0, variant: 0, token: 4 });
        app.scroll_to_selection = true;
        assert!(has(&app, "word3") && !has(&app, "word59"));

        (app.selected, app.scroll_to_selection, app.scroll) = (None, false, usize::MAX);
        assert!(has(&app, "Once"));
        let (_, viewport) = drawn(&app, Theme::COLOUR, size);
        assert_eq!(viewport.scroll, viewport.lines - viewport.height);
    }

    /// Draws the next frame and records its viewport.
    fn next_screen(app: &mut App, size: (u16, u16)) -> Vec<String> {
        let (buffer, viewport) = drawn(app, Theme::COLOUR, size);
        app.on_drawn(viewport);
        lines(&buffer)
    }

    #[test]
    fn a_long_message_is_shown_from_its_beginning_and_stays_while_a_text_is_written() {
        let mut app = App::new(session());
        let size = (60, 12);
        app.submit("Once");
        app.submit("/help");

        let help = next_screen(&mut app, size);
        assert!(help[0].starts_with(COMMANDS[0].name), "{help:#?}");
        let below = app.viewport.scroll;
        assert!(
            help[11].starts_with(&format!("{below} more lines (PgDn) · Esc stops")),
            "{help:#?}"
        );
        let mut tops = Vec::new();
        for event in events(&[&[" and then"; 60]]) {
            app.on_worker_event(event);
            tops.push(next_screen(&mut app, size)[..6].to_vec());
        }

        assert!(tops.iter().all(|lines| lines[..] == help[..6]), "{tops:#?}");
        app.submit("/seed 3");
        let short = next_screen(&mut app, size);
        assert_eq!(short[5], "seed 3", "{short:#?}");
    }

    #[test]
    fn what_was_scrolled_to_stays_while_the_text_below_it_grows() {
        let mut app = App::new(session());
        let size = (60, 12);
        app.submit("Once");
        let texts: Vec<String> = (0..90).map(|at| format!(" word{at}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut events = events(&[&texts]).into_iter();
        for _ in 0..60 {
            app.on_worker_event(events.next().unwrap());
        }
        let newest = next_screen(&mut app, size);
        app.scroll = 2;
        let above = next_screen(&mut app, size);
        assert_ne!(above[..6], newest[..6]);

        for event in events {
            app.on_worker_event(event);
            assert_eq!(next_screen(&mut app, size)[..6], above[..6]);
        }
    }

    #[test]
    fn nothing_in_a_text_reaches_the_terminal_as_a_command() {
        let mut app = app_with(&[&["\u{1b}[2J", "\u{7}"]]);
        app.submit("/find \u{1b}[31m");

        for line in screen(&app, (100, 24)) {
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn a_command_that_is_typed_is_explained() {
        let mut app = App::new(session());
        app.editor.insert("/shade 3");
        assert!(screen(&app, (90, 6))[5].starts_with("/shade [HOOK:]N | auto | off: shade"));
        app.editor.set("/s".to_owned());
        assert!(screen(&app, (90, 6))[5].starts_with("/steer  /steers  /shade"));
    }
}
