//! The state of the screen, and its updates by keys and by the worker.

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::Target;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::editor::Editor;
use crate::chat::command::complete;
use crate::chat::job::{Job, WorkerEvent};
use crate::chat::session::{Reply, Session, Shade, TokenRef};
use crate::chat::turn::{Token, Turn, Variant};

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) session: Session,
    pub(crate) editor: Editor,
    /// The items on the screen, oldest first.
    pub(crate) items: Vec<Item>,
    /// The selected token; none follows the newest one.
    pub(crate) selected: Option<TokenRef>,
    /// The number of lines below the bottom of the screen.
    pub(crate) scroll: usize,
    /// True if the selected token has to be scrolled into view.
    pub(crate) scroll_to_selection: bool,
    /// True if the last item is a new message, which is shown from its first line.
    pub(crate) show_from_start: bool,
    /// Possible completions of the line.
    pub(crate) choices: Vec<String>,
    /// True if another Ctrl-C exits.
    pub(crate) is_leaving: bool,
    /// The viewport of the last frame.
    pub(crate) viewport: Viewport,
}

/// An item on the screen.
#[derive(Debug, PartialEq)]
pub(crate) enum Item {
    /// A turn of the session, by index.
    Turn(usize),
    Message(String),
    Error(String),
}

/// The size of the text and of its area on the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Viewport {
    pub(crate) lines: usize,
    pub(crate) height: usize,
    pub(crate) cells: usize,
    /// The scroll position; see [`App::scroll`].
    pub(crate) scroll: usize,
}

/// An action for the event loop.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Nothing,
    Work(Job),
    Stop,
    Quit,
}

impl App {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            editor: Editor::default(),
            items: Vec::new(),
            selected: None,
            scroll: 0,
            scroll_to_selection: false,
            show_from_start: false,
            choices: Vec::new(),
            is_leaving: false,
            viewport: Viewport { cells: 80, ..Viewport::default() },
        }
    }

    pub(crate) fn on_key(&mut self, key: KeyEvent) -> Effect {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let aside = key
            .modifiers
            .intersects(KeyModifiers::ALT | KeyModifiers::SHIFT | KeyModifiers::CONTROL);
        let was_leaving = std::mem::take(&mut self.is_leaving);
        self.choices.clear();
        let page = self.viewport.height.saturating_sub(1).max(1);
        match key.code {
            KeyCode::Char('c') if control => {
                if was_leaving {
                    return Effect::Quit;
                }
                self.is_leaving = true;
                return self.stop();
            }
            KeyCode::Char('d') if control && self.editor.is_empty() => return Effect::Quit,
            KeyCode::Esc if self.session.is_running() => return self.stop(),
            KeyCode::Esc => self.follow(),
            // An Enter typed before raw mode was on arrives as a line feed.
            KeyCode::Char('j') if control => return self.enter(),
            KeyCode::Enter => return self.enter(),
            KeyCode::Tab => self.complete(),
            KeyCode::Left if aside || self.editor.is_empty() => self.go(-1),
            KeyCode::Right if aside || self.editor.is_empty() => self.go(1),
            KeyCode::Up if aside => self.go_to_text(-1),
            KeyCode::Down if aside => self.go_to_text(1),
            KeyCode::PageUp => self.scroll_to(self.scroll.saturating_add(page)),
            KeyCode::PageDown => self.scroll_to(self.scroll.saturating_sub(page)),
            _ => self.edit(key.code, control),
        }
        Effect::Nothing
    }

    fn enter(&mut self) -> Effect {
        let line = self.editor.take();
        self.submit(&line)
    }

    fn edit(&mut self, code: KeyCode, control: bool) {
        let editor = &mut self.editor;
        match code {
            KeyCode::Char('a') if control => editor.home(),
            KeyCode::Char('e') if control => editor.end(),
            KeyCode::Char('u') if control => editor.delete_to_start(),
            KeyCode::Char('k') if control => editor.delete_to_end(),
            KeyCode::Char('w') if control => editor.delete_word(),
            KeyCode::Char('d') if control => editor.delete(),
            KeyCode::Char('h') if control => editor.backspace(),
            KeyCode::Char(c) if !control => editor.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace => editor.backspace(),
            KeyCode::Delete => editor.delete(),
            KeyCode::Left => editor.left(),
            KeyCode::Right => editor.right(),
            KeyCode::Home => editor.home(),
            KeyCode::End => editor.end(),
            KeyCode::Up => editor.up(),
            KeyCode::Down => editor.down(),
            _ => {}
        }
    }

    /// Handles a complete line.
    pub(crate) fn submit(&mut self, line: &str) -> Effect {
        self.session.selected = self.selected;
        match self.session.submit(line, self.viewport.cells) {
            Ok(Reply::Quit) => return Effect::Quit,
            Ok(Reply::Cleared) => {
                self.items.clear();
                self.follow();
            }
            Ok(Reply::Message(message)) => {
                if !message.is_empty() {
                    self.push(Item::Message(message));
                }
            }
            Ok(Reply::Work(job)) => {
                if matches!(job, Job::Write { .. }) {
                    self.push(Item::Turn(self.session.turns.len() - 1));
                }
                return Effect::Work(job);
            }
            Err(error) => self.push(Item::Error(format!("{error:#}"))),
        }
        Effect::Nothing
    }

    pub(crate) fn on_worker_event(&mut self, event: WorkerEvent) {
        let is_failure = matches!(event, WorkerEvent::Failed(_));
        if let Some(message) = self.session.record(event) {
            let item = if is_failure { Item::Error(message) } else { Item::Message(message) };
            self.push(item);
        }
    }

    /// Records the viewport of the frame that was drawn.
    pub(crate) fn on_drawn(&mut self, viewport: Viewport) {
        (self.scroll, self.viewport) = (viewport.scroll, viewport);
        (self.scroll_to_selection, self.show_from_start) = (false, false);
    }

    /// Adds an item and scrolls to it.
    fn push(&mut self, item: Item) {
        let show_from_start = !matches!(item, Item::Turn(_));
        self.items.push(item);
        self.follow();
        self.show_from_start = show_from_start;
    }

    fn follow(&mut self) {
        (self.selected, self.scroll) = (None, 0);
        (self.scroll_to_selection, self.show_from_start) = (false, false);
    }

    fn stop(&self) -> Effect {
        if self.session.is_running() { Effect::Stop } else { Effect::Nothing }
    }

    fn complete(&mut self) {
        let hooks: Vec<HookPoint> = self.session.model_info.saes.keys().copied().collect();
        let completion = complete(self.editor.text(), &hooks);
        self.choices = completion.choices;
        self.editor.set(completion.line);
    }

    fn scroll_to(&mut self, scroll: usize) {
        self.scroll = scroll.min(self.viewport.lines.saturating_sub(self.viewport.height));
        self.scroll_to_selection = false;
    }

    /// The token whose features are shown: the selected one, or the newest.
    pub(crate) fn current_token(&self) -> Option<TokenRef> {
        self.selected.or_else(|| {
            let (turn, variant) = self.texts().last().copied()?;
            let token = self.variant(turn, variant).tokens.len().checked_sub(1)?;
            Some(TokenRef { turn, variant, token })
        })
    }

    pub(crate) fn token(&self, at: TokenRef) -> &Token {
        &self.variant(at.turn, at.variant).tokens[at.token]
    }

    fn variant(&self, turn: usize, variant: usize) -> &Variant {
        &self.session.turns[turn].variants[variant]
    }

    /// Every text with a token, as the indices of its turn and its variant.
    fn texts(&self) -> Vec<(usize, usize)> {
        let of_turn = |(at, turn): (usize, &Turn)| {
            let full =
                turn.variants.iter().enumerate().filter(|(_, variant)| !variant.tokens.is_empty());
            full.map(move |(variant, _)| (at, variant)).collect::<Vec<_>>()
        };
        self.session.turns.iter().enumerate().flat_map(of_turn).collect()
    }

    /// Moves the selection within its text. Past the newest token it follows the text again.
    fn go(&mut self, by: isize) {
        let Some(place) = self.current_token() else { return };
        let last = self.variant(place.turn, place.variant).tokens.len() - 1;
        let is_newest = self.texts().last() == Some(&(place.turn, place.variant));
        match place.token.checked_add_signed(by) {
            Some(token) if token < last || (token == last && !is_newest) => {
                self.select(TokenRef { token, ..place });
            }
            Some(_) if is_newest => self.follow(),
            _ => {}
        }
    }

    /// Moves the selection to the previous or next text.
    fn go_to_text(&mut self, by: isize) {
        let Some(place) = self.current_token() else { return };
        let texts = self.texts();
        let at = texts.iter().position(|&text| text == (place.turn, place.variant));
        let to = at.and_then(|at| at.checked_add_signed(by)).and_then(|at| texts.get(at));
        if let Some(&(turn, variant)) = to {
            let token = place.token.min(self.variant(turn, variant).tokens.len() - 1);
            self.select(TokenRef { turn, variant, token });
        }
    }

    fn select(&mut self, place: TokenRef) {
        self.selected = Some(place);
        self.scroll_to_selection = true;
    }

    /// The feature tokens are shaded by.
    pub(crate) fn shade(&self) -> Option<(HookPoint, u32)> {
        let strongest = || {
            let token = self.token(self.current_token()?);
            let (&hook, features) = token.features.iter().next_back()?;
            let (feature, _) = features.strongest(0, 1).first().copied()?;
            Some((hook, feature))
        };
        let steered = || {
            let plan = &self.session.plan;
            plan.interventions.iter().find_map(|steer| match steer.target {
                Target::Feature(feature) if plan.track.contains(&steer.hook) => {
                    Some((steer.hook, feature as u32))
                }
                _ => None,
            })
        };
        match self.session.shade {
            Shade::Off => None,
            Shade::Feature(hook, feature) => Some((hook, feature)),
            Shade::Auto if self.selected.is_some() => strongest(),
            // The strongest feature changes with each token, which would make the text flicker.
            Shade::Auto if self.session.is_running() => steered(),
            Shade::Auto => steered().or_else(strongest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::test_session::{LATE, events, session};
    use crate::chat::turn::State;

    fn press(app: &mut App, code: KeyCode) -> Effect {
        app.on_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn press_with(app: &mut App, code: KeyCode, modifiers: KeyModifiers) -> Effect {
        app.on_key(KeyEvent::new(code, modifiers))
    }

    fn enter(app: &mut App, line: &str) -> Effect {
        for c in line.chars() {
            assert_eq!(press(app, KeyCode::Char(c)), Effect::Nothing);
        }
        press(app, KeyCode::Enter)
    }

    fn app_with(variants: &[&[&str]]) -> App {
        let mut app = App::new(session());
        if variants.len() > 1 {
            enter(&mut app, "/steer 7:add:27");
            enter(&mut app, "/compare on");
        }
        assert!(matches!(enter(&mut app, "Once"), Effect::Work(Job::Write { .. })));
        for event in events(variants) {
            app.on_worker_event(event);
        }
        app
    }

    #[test]
    fn the_newest_token_is_looked_at_until_an_arrow_moves_away_from_it() {
        let mut app = app_with(&[&[" there", " was"]]);
        let place = |token| Some(TokenRef { turn: 0, variant: 0, token });
        assert_eq!((app.current_token(), app.selected), (place(2), None));

        press(&mut app, KeyCode::Left);
        assert_eq!(app.selected, place(1));
        press(&mut app, KeyCode::Left);
        press(&mut app, KeyCode::Left);
        assert_eq!(app.selected, place(0));
        for _ in 0..3 {
            press(&mut app, KeyCode::Right);
        }
        assert_eq!(app.selected, None);
        press(&mut app, KeyCode::Left);
        press(&mut app, KeyCode::Esc);
        assert_eq!(app.selected, None);
    }

    #[test]
    fn arrows_edit_a_line_that_is_typed_and_with_alt_still_move_the_selection() {
        let mut app = app_with(&[&[" there"]]);
        press(&mut app, KeyCode::Char('b'));

        press(&mut app, KeyCode::Left);
        press(&mut app, KeyCode::Char('a'));
        assert_eq!((app.editor.text(), app.selected), ("ab", None));
        press_with(&mut app, KeyCode::Left, KeyModifiers::ALT);
        assert_eq!(app.selected.unwrap().token, 0);
        assert_eq!(app.editor.text(), "ab");
    }

    #[test]
    fn the_selection_goes_from_the_steered_text_to_the_one_beside_it() {
        let mut app = app_with(&[&[" there"], &[" a", " dog"]]);
        assert_eq!(app.current_token(), Some(TokenRef { turn: 0, variant: 1, token: 2 }));

        press_with(&mut app, KeyCode::Up, KeyModifiers::ALT);
        assert_eq!(app.selected, Some(TokenRef { turn: 0, variant: 0, token: 1 }));
        press(&mut app, KeyCode::Right);
        assert_eq!(app.selected, Some(TokenRef { turn: 0, variant: 0, token: 1 }));
        press_with(&mut app, KeyCode::Down, KeyModifiers::ALT);
        assert_eq!(app.selected, Some(TokenRef { turn: 0, variant: 1, token: 1 }));
    }

    #[test]
    fn escape_and_control_c_stop_a_text_and_a_second_control_c_leaves() {
        let mut app = App::new(session());
        enter(&mut app, "Once");
        let control_c = |app: &mut App| press_with(app, KeyCode::Char('c'), KeyModifiers::CONTROL);

        assert_eq!(press(&mut app, KeyCode::Esc), Effect::Stop);
        assert_eq!(control_c(&mut app), Effect::Stop);
        press(&mut app, KeyCode::Char('x'));
        assert_eq!(control_c(&mut app), Effect::Stop);
        assert_eq!(control_c(&mut app), Effect::Quit);
        app.on_worker_event(WorkerEvent::Done { stopped: true });
        assert_eq!(app.session.turns[0].state, State::Stopped);
        assert_eq!(press(&mut app, KeyCode::Esc), Effect::Nothing);
    }

    #[test]
    fn an_enter_of_before_the_terminal_was_ours_counts() {
        let mut app = App::new(session());
        press(&mut app, KeyCode::Char('x'));

        let effect = press_with(&mut app, KeyCode::Char('j'), KeyModifiers::CONTROL);

        assert!(matches!(effect, Effect::Work(Job::Write { .. })));
        assert!(app.editor.is_empty());
    }

    #[test]
    fn control_d_leaves_only_where_nothing_is_typed() {
        let mut app = App::new(session());
        let control_d = |app: &mut App| press_with(app, KeyCode::Char('d'), KeyModifiers::CONTROL);
        press(&mut app, KeyCode::Char('x'));

        assert_eq!(control_d(&mut app), Effect::Nothing);
        press(&mut app, KeyCode::Backspace);
        assert_eq!(control_d(&mut app), Effect::Quit);
        assert_eq!(enter(&mut app, "/quit"), Effect::Quit);
    }

    #[test]
    fn an_error_is_shown_and_the_dialogue_goes_on() {
        let mut app = App::new(session());

        assert_eq!(enter(&mut app, "/nonsense"), Effect::Nothing);
        let wrong = "unknown command /nonsense; /help lists the commands";
        assert_eq!(app.items, [Item::Error(wrong.to_owned())]);
        enter(&mut app, "Once");
        app.on_worker_event(WorkerEvent::Failed("the prompt is too long".to_owned()));
        assert!(matches!(enter(&mut app, "Once"), Effect::Work(_)));
        press(&mut app, KeyCode::Up);
        assert_eq!(app.editor.text(), "Once");
    }

    #[test]
    fn tokens_are_shaded_by_the_feature_that_is_looked_at() {
        let mut app = app_with(&[&[" there", " was", " a"]]);
        // On the newest token 3 of feature 7, on the one after the prompt 1, and 2 of feature 9.
        assert_eq!(app.shade(), Some((LATE, 7)));
        press(&mut app, KeyCode::Left);
        press(&mut app, KeyCode::Left);
        assert_eq!(app.shade(), Some((LATE, 9)));
        press(&mut app, KeyCode::Esc);

        enter(&mut app, "/steer 40:add:1");
        assert_eq!(app.shade(), Some((LATE, 40)));
        enter(&mut app, "/shade 9");
        assert_eq!(app.shade(), Some((LATE, 9)));
        enter(&mut app, "/shade off");
        assert_eq!(app.shade(), None);
    }

    #[test]
    fn tab_completes_and_names_what_is_left_to_choose() {
        let mut app = App::new(session());
        "/shade bl".chars().for_each(|c| drop(press(&mut app, KeyCode::Char(c))));

        press(&mut app, KeyCode::Tab);
        assert_eq!(app.editor.text(), "/shade blocks.");
        assert_eq!(app.choices.len(), 2);
        press(&mut app, KeyCode::Char('3'));
        press(&mut app, KeyCode::Tab);
        assert_eq!(app.editor.text(), "/shade blocks.3.hook_resid_post:");
        assert!(app.choices.is_empty());
    }

    #[test]
    fn cleared_texts_are_gone_from_the_screen_and_the_selection() {
        let mut app = app_with(&[&[" there"]]);
        press(&mut app, KeyCode::Left);

        enter(&mut app, "/clear");

        assert!(app.items.is_empty() && app.session.turns.is_empty());
        assert_eq!(app.current_token(), None);
    }
}
