//! The terminal, and the event loop that connects it to the state and the worker.

use std::io::{self, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyEventKind,
};
use ratatui::crossterm::execute;

use super::app::{App, Effect};
use super::draw::draw;
use super::theme::Theme;
use crate::chat::job::WorkerEvent;
use crate::chat::session::Session;
use crate::chat::worker::Worker;
use crate::terminal::messages::print_error;
use crate::terminal::signals::{self, InterruptFlag};
use nanoscope::Microscope;

/// The time between checks for signals and for a closed terminal.
const TICK: Duration = Duration::from_millis(25);

/// The time after a signal for which a frame may still be drawn. A blocked terminal would take for
/// ever.
const EXIT_AFTER: Duration = Duration::from_secs(1);

/// The exit code of a program whose terminal was closed, as shells report it.
const HUNG_UP: u8 = 129;

/// A message to the event loop.
enum Message {
    Event(io::Result<Event>),
    WorkerEvent(WorkerEvent),
}

pub(crate) fn run(
    scope: Arc<Microscope>,
    session: Session,
    first: Option<&str>,
) -> Result<ExitCode> {
    let _interrupted = InterruptFlag::watch();
    let hung_up = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&hung_up))
        .context("could not watch for signals")?;
    let (sender, inbox) = mpsc::channel();
    let send_event = sender.clone();
    let worker =
        Worker::new(scope, move |event| send_event.send(Message::WorkerEvent(event)).is_ok());
    let mut screen = Screen::enter().context("could not set up the terminal")?;
    // In a thread of its own, because crossterm never returns at the end of a terminal's input.
    let (is_hung_up, mut since) = (Arc::clone(&hung_up), None);
    let next = move || {
        if let Some(code) = exit_code(&is_hung_up)
            && since.get_or_insert_with(Instant::now).elapsed() > EXIT_AFTER
        {
            signals::end_now(code);
        }
        next_event()
    };
    thread::spawn(move || listen(next, |event| sender.send(Message::Event(event)).is_ok()));
    let done =
        event_loop(&mut screen.terminal, App::new(session), &worker, &inbox, &hung_up, first);
    drop(screen);
    Ok(ExitCode::from(done.unwrap_or_else(|error| {
        // If the terminal is gone, there is nobody to read the error.
        if !is_closed() {
            print_error(&error);
        }
        HUNG_UP
    })))
}

/// Draws frames and handles messages until the session ends. Returns the exit code.
fn event_loop(
    terminal: &mut DefaultTerminal,
    mut app: App,
    worker: &Worker,
    inbox: &mpsc::Receiver<Message>,
    hung_up: &AtomicBool,
    first: Option<&str>,
) -> Result<u8> {
    let theme = Theme::from_env();
    if let Some(first) = first {
        let line = format!("{}{first}", if first.starts_with('/') { "/" } else { "" });
        let effect = app.submit(&line);
        apply(&mut app, worker, effect);
    }
    let mut is_stale = true;
    loop {
        if let Some(code) = exit_code(hung_up) {
            return Ok(code);
        }
        if is_closed() {
            return Ok(HUNG_UP);
        }
        if std::mem::take(&mut is_stale) {
            let mut viewport = app.viewport;
            terminal
                .draw(|frame| viewport = draw(frame, &app, theme))
                .context("could not write to the terminal")?;
            app.on_drawn(viewport);
        }
        let next = match inbox.recv_timeout(TICK) {
            Ok(next) => next,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(error @ RecvTimeoutError::Disconnected) => {
                return Err(Error::new(error).context(READ_ERROR));
            }
        };
        for message in std::iter::once(next).chain(inbox.try_iter()) {
            let effect = match message {
                Message::WorkerEvent(event) => {
                    app.on_worker_event(event);
                    Effect::Nothing
                }
                Message::Event(event) => on_event(&mut app, event.context(READ_ERROR)?),
            };
            if !apply(&mut app, worker, effect) {
                return Ok(0);
            }
        }
        is_stale = true;
    }
}

const READ_ERROR: &str = "could not read from the terminal";

fn on_event(app: &mut App, event: Event) -> Effect {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => return app.on_key(key),
        Event::Paste(text) => app.editor.insert(&text),
        Event::Resize(..) => app.scroll_to_selection = app.selected.is_some(),
        _ => {}
    }
    Effect::Nothing
}

/// Passes each event from `next` to `send`, until `next` fails, which is passed on too, or `send`
/// returns false.
fn listen(
    mut next: impl FnMut() -> io::Result<Option<Event>>,
    mut send: impl FnMut(io::Result<Event>) -> bool,
) {
    loop {
        let begun = Instant::now();
        match next() {
            // `next` may return at once; without a pause, this would keep a core busy.
            Ok(None) => thread::sleep(TICK.saturating_sub(begun.elapsed())),
            Ok(Some(event)) => {
                if !send(Ok(event)) {
                    return;
                }
            }
            Err(error) => {
                send(Err(error));
                return;
            }
        }
    }
}

/// The next event, if there is one soon. Waiting forever would block drawing, which asks the
/// terminal for the position of its cursor.
fn next_event() -> io::Result<Option<Event>> {
    if event::poll(TICK)? { event::read().map(Some) } else { Ok(None) }
}

/// The exit code for a signal, if one arrived.
fn exit_code(hung_up: &AtomicBool) -> Option<u8> {
    hung_up.load(Ordering::Relaxed).then_some(HUNG_UP).or_else(signals::arrived)
}

/// Returns whether the terminal or its connection was closed: then even its size is unavailable.
#[cfg(unix)]
fn is_closed() -> bool {
    use rustix::termios::tcgetwinsize;

    tcgetwinsize(std::io::stdin()).is_err() || tcgetwinsize(stdout()).is_err()
}

/// Returns false, because Windows ends the programs of a terminal that is closed.
#[cfg(not(unix))]
fn is_closed() -> bool {
    false
}

/// Performs an effect. Returns whether the session continues.
fn apply(app: &mut App, worker: &Worker, effect: Effect) -> bool {
    match effect {
        Effect::Nothing => {}
        Effect::Work(job) => {
            if let Err(error) = worker.start(job) {
                app.on_worker_event(WorkerEvent::Failed(error.to_string()));
            }
        }
        Effect::Stop => worker.stop(),
        Effect::Quit => return false,
    }
    true
}

/// The terminal in raw mode on the alternate screen. It is restored on drop.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        // Panics of other threads are reported on the screen, and the session continues.
        let ours = std::thread::current().id();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == ours {
                let _ = execute!(stdout(), DisableBracketedPaste);
                hook(info);
            }
        }));
        let screen = Self { terminal };
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Errors are ignored, because the terminal may be gone.
        let _ = execute!(stdout(), DisableBracketedPaste);
        let _ = ratatui::try_restore();
        let _ = self.terminal.show_cursor();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn received(
        events: impl IntoIterator<Item = io::Result<Option<Event>>>,
    ) -> Vec<io::Result<Event>> {
        let mut events: VecDeque<_> = events.into_iter().collect();
        let mut received = Vec::new();
        listen(
            || events.pop_front().expect("nothing is asked for after an error"),
            |event| {
                received.push(event);
                true
            },
        );
        received
    }

    #[test]
    fn an_error_of_the_terminal_is_told_once_after_what_came_before_it() {
        let gone = io::Error::from(io::ErrorKind::UnexpectedEof);

        let received = received([Ok(Some(Event::FocusGained)), Ok(None), Err(gone)]);

        assert_eq!(received.len(), 2);
        assert_eq!(received[0].as_ref().unwrap(), &Event::FocusGained);
        assert_eq!(received[1].as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_terminal_that_has_nothing_at_once_is_not_asked_without_a_pause() {
        let begun = Instant::now();

        received([Ok(None), Ok(None), Ok(None), Err(io::ErrorKind::Other.into())]);

        assert!(begun.elapsed() >= 3 * TICK, "{:?}", begun.elapsed());
    }

    #[test]
    fn nothing_is_asked_for_when_nobody_hears_it() {
        let mut calls = 0;

        let next = || {
            calls += 1;
            Ok(Some(Event::FocusGained))
        };
        listen(next, |_| false);

        assert_eq!(calls, 1);
    }
}
