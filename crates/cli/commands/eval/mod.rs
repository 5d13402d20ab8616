//! `nanoscope eval`.

mod args;
mod command;
mod dtype_report;
mod lines;

pub(crate) use self::args::EvalArgs;
pub(crate) use self::command::eval;
