//! The dialogue on a terminal.

mod app;
mod editor;
mod panel;
mod terminal;
mod texts;
mod theme;
mod view;
mod wrap;

pub(crate) use self::terminal::run;
