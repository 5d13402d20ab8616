//! The terminal, and the loop that joins it to the state and the worker.

use std::io::{self, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyEventKind,
};
use ratatui::crossterm::execute;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::app::{App, Effect};
use super::session::Session;
use super::theme::Theme;
use super::view::draw;
use super::worker::{News, Worker};
use crate::load::Scope;
use crate::signals::INTERRUPTED;

/// How long a key or a token waits at most before it is seen.
const TICK: Duration = Duration::from_millis(25);

pub(crate) fn run(scope: Arc<Scope>, session: Session, first: Option<&str>) -> Result<ExitCode> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("could not watch for signals")?;
    }
    let (tell, news) = mpsc::channel();
    let worker = Worker::new(scope, move |news| tell.send(news).is_ok());
    let mut screen = Screen::enter().context("the terminal could not be taken over")?;
    let done = follow(&mut screen.terminal, App::new(session), &worker, &news, &interrupted, first);
    drop(screen);
    done?;
    let is_interrupted = interrupted.load(Ordering::Relaxed);
    Ok(if is_interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// Draws, waits and acts until somebody leaves.
fn follow(
    terminal: &mut DefaultTerminal,
    mut app: App,
    worker: &Worker,
    news: &mpsc::Receiver<News>,
    interrupted: &AtomicBool,
    first: Option<&str>,
) -> Result<()> {
    let theme = Theme::of_environment();
    if let Some(first) = first {
        let line = format!("{}{first}", if first.starts_with('/') { "/" } else { "" });
        let effect = app.submit(&line);
        act(&mut app, worker, effect);
    }
    let mut is_stale = true;
    while !interrupted.load(Ordering::Relaxed) {
        if is_stale {
            let mut seen = app.seen;
            terminal
                .draw(|frame| seen = draw(frame, &app, theme))
                .context("could not write to the terminal")?;
            (app.scroll, app.seen) = (seen.scroll, seen);
            app.is_sought = false;
            is_stale = false;
        }
        if event::poll(TICK).context("could not read from the terminal")? {
            let effect = match event::read().context("could not read from the terminal")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => app.on_key(key),
                Event::Paste(text) => {
                    app.editor.insert(&text);
                    Effect::Nothing
                }
                Event::Resize(..) => {
                    app.is_sought = app.selected.is_some();
                    Effect::Nothing
                }
                _ => Effect::Nothing,
            };
            if !act(&mut app, worker, effect) {
                return Ok(());
            }
            is_stale = true;
        }
        for news in news.try_iter() {
            app.on_news(news);
            is_stale = true;
        }
    }
    Ok(())
}

/// Whether the dialogue goes on.
fn act(app: &mut App, worker: &Worker, effect: Effect) -> bool {
    match effect {
        Effect::Nothing => {}
        Effect::Work(job) => {
            if let Err(error) = worker.start(job) {
                app.on_news(News::Failed(error.to_string()));
            }
        }
        Effect::Stop => worker.stop(),
        Effect::Quit => return false,
    }
    true
}

/// The terminal while it is ours; given back as it was, whatever happens.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        // Another thread's panic is reported by the dialogue, which goes on.
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
        // The terminal may be gone; there is nobody to tell.
        let _ = execute!(stdout(), DisableBracketedPaste);
        let _ = ratatui::try_restore();
        let _ = self.terminal.show_cursor();
    }
}
