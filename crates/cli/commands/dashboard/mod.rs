//! `nanoscope dashboard`.

mod args;
mod command;

pub(crate) use self::args::DashboardArgs;
pub(crate) use self::command::dashboard;
