//! The command line `nanoscope` as a library, so that another program can carry it: the binary of the same name
//! and the Python package, whose console script it is, are two callers of [`run_from`].

mod allocator;
mod args;
mod cache;
mod chat;
mod cli;
mod commands;
mod demo;
mod export;
mod file_key;
pub mod heatmap;
mod load;
mod preflight;
mod prompt;
mod read_file;
mod remote;
mod terminal;
mod texts;
mod write_file;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use nanoscope_checkpoint::without_temporaries;

use crate::chat::chat;
use crate::cli::{Cli, Command};
use crate::commands::attribute::attribute;
use crate::commands::collect::collect;
use crate::commands::completions::completions;
use crate::commands::convert::convert;
use crate::commands::dashboard::dashboard;
use crate::commands::encode::encode;
use crate::commands::eval::eval;
use crate::commands::features::features;
use crate::commands::generate::generate;
use crate::commands::hooks::hooks;
use crate::commands::index::index;
use crate::commands::inspect::inspect;
use crate::commands::label::label;
use crate::commands::man::man;
use crate::commands::run::run;
use crate::commands::serve::serve;
use crate::commands::site::site;
use crate::commands::sweep::sweep;
use crate::commands::train::train;
use crate::terminal::{messages, signals};

pub use crate::allocator::keep_freed_memory;
pub use crate::demo::unpack as demo_folder;

/// Runs the command line `args`, the program's name first, and returns its exit code. Bad arguments and `--help`
/// end the process, as do Ctrl-C and SIGTERM from now on.
pub fn run_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(args);
    let code = signals::handle()
        .and_then(|()| run_command(cli.command.as_ref()))
        .unwrap_or_else(|error| messages::report_error(&error));
    // The demo may lie in a temporary folder.
    without_temporaries(|| code)
}

fn run_command(command: Option<&Command>) -> Result<ExitCode> {
    match command {
        None => messages::welcome()?,
        Some(Command::Generate(args)) => generate(args)?,
        Some(Command::Chat(args)) => return chat(args),
        Some(Command::Run(args)) => run(args)?,
        Some(Command::Features(args)) => features(args)?,
        Some(Command::Attribute(args)) => attribute(args)?,
        Some(Command::Sweep(args)) => sweep(args)?,
        Some(Command::Dashboard(args)) => return dashboard(args),
        Some(Command::Index(args)) => return index(args),
        Some(Command::Label(args)) => return label(args),
        Some(Command::Hooks(args)) => hooks(args)?,
        Some(Command::Inspect(args)) => inspect(args)?,
        Some(Command::Convert(args)) => convert(args)?,
        Some(Command::Encode(args)) => return encode(args),
        Some(Command::Collect(args)) => return collect(args),
        Some(Command::Train(args)) => return train(args),
        Some(Command::Eval(args)) => return eval(args),
        Some(Command::Serve(args)) => serve(args)?,
        Some(Command::Site(args)) => site(args)?,
        Some(Command::Completions(args)) => completions(args, Cli::command())?,
        Some(Command::Man(args)) => man(args, Cli::command())?,
    }
    Ok(ExitCode::SUCCESS)
}
