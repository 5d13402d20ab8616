//! `nanoscope label`.

mod args;
mod command;
mod features;
mod report;

pub(crate) use self::args::LabelArgs;
pub(crate) use self::command::label;
