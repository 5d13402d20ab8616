//! `nanoscope eval`.

mod args;
mod command;
mod dtype_report;
mod lines;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use self::args::EvalArgs;
use crate::commands::interruption::{end_of_download, is_interruption};

pub(crate) fn eval(args: &EvalArgs) -> Result<ExitCode> {
    args.texts.check()?;
    let evaluated =
        if args.dtype_report { dtype_report::dtype_report(args) } else { command::eval(args) };
    match evaluated {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if is_interruption(&error) => Ok(end_of_download()),
        Err(error) => Err(error),
    }
}
