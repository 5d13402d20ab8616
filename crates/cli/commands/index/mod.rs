//! `nanoscope index`: names, examples and measured strengths of an SAE's features.

mod args;
mod command;
mod make;

pub(crate) use args::IndexArgs;
pub(crate) use command::index;
pub(crate) use make::{Steering, index_line, make_index, save};
