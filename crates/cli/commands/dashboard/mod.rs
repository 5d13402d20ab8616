//! `nanoscope dashboard`.

mod args;
mod command;

pub(crate) use self::args::{DashboardArgs, range};
pub(crate) use self::command::{StageBar, dashboard, dashboard_bytes};
