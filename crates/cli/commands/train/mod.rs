//! `nanoscope train`.

mod args;
mod command;
mod indexing;
mod progress;
mod source;
mod suggestions;

pub(crate) use self::args::TrainArgs;
pub(crate) use self::command::train;
