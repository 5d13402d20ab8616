//! `nanoscope serve`.

mod args;
mod browser;
mod command;

pub(crate) use self::args::ServeArgs;
pub(crate) use self::command::serve;
