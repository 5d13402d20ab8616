//! `nanoscope eval`.

mod args;
mod command;
mod dtype_report;
mod lines;

use anyhow::Result;

pub(crate) use self::args::EvalArgs;

pub(crate) fn eval(args: &EvalArgs) -> Result<()> {
    if args.dtype_report { dtype_report::dtype_report(args) } else { command::eval(args) }
}
