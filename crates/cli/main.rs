//! The command line: flags to calls, results to text.

mod args;
mod chat;
mod cli;
mod commands;
mod demo;
mod file_key;
mod load;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::commands::collect::collect;
use crate::commands::convert::convert;
use crate::commands::dashboard::dashboard;
use crate::commands::encode::encode;
use crate::commands::eval::eval;
use crate::commands::features::features;
use crate::commands::generate::generate;
use crate::commands::hooks::hooks;
use crate::commands::inspect::inspect;
use crate::commands::run::run;
use crate::commands::serve::serve;
use crate::commands::train::train;
use crate::terminal::messages;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None => messages::welcome(),
        Some(Command::Generate(args)) => generate(args),
        Some(Command::Chat(args)) => {
            return chat::chat(args).unwrap_or_else(|e| messages::report(&e));
        }
        Some(Command::Run(args)) => run(args),
        Some(Command::Features(args)) => features(args),
        Some(Command::Dashboard(args)) => dashboard(args),
        Some(Command::Hooks(args)) => hooks(args),
        Some(Command::Inspect(args)) => inspect(args),
        Some(Command::Convert(args)) => convert(args),
        Some(Command::Encode(args)) => encode(args),
        Some(Command::Collect(args)) => {
            return collect(args).unwrap_or_else(|e| messages::report(&e));
        }
        Some(Command::Train(args)) => {
            return train(args).unwrap_or_else(|e| messages::report(&e));
        }
        Some(Command::Eval(args)) => eval(args),
        Some(Command::Serve(args)) => serve(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => messages::report(&error),
    }
}
