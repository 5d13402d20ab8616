//! `nanoscope collect`.

mod args;
mod command;

pub(crate) use self::args::CollectArgs;
pub(crate) use self::command::collect;
