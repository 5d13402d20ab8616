//! `nanoscope eval`.

mod args;
mod command;
mod dtype_report;
mod lines;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use self::args::EvalArgs;
use crate::commands::interruption::is_interruption;
use crate::terminal::messages::note;
use crate::terminal::signals::exit_code;

pub(crate) fn eval(args: &EvalArgs) -> Result<ExitCode> {
    args.texts.check()?;
    let evaluated =
        if args.dtype_report { dtype_report::dtype_report(args) } else { command::eval(args) };
    match evaluated {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if is_interruption(&error) => {
            note("interrupted while downloading the texts; the same command continues");
            Ok(exit_code())
        }
        Err(error) => Err(error),
    }
}
