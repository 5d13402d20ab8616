//! The screen of a session on a terminal.

mod app;
mod draw;
mod editor;
mod panel;
mod terminal;
mod theme;
mod transcript;
mod wrap;

pub(crate) use self::terminal::run;
