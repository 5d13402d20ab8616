//! The command line: flags to calls, results to text.

mod args;
mod chat;
mod collect;
mod collect_args;
mod convert;
mod dashboard;
mod dashboard_args;
mod demo;
mod display;
mod encode;
mod eval;
mod eval_args;
mod eval_lines;
mod export;
mod feature_json;
mod feature_lines;
mod feature_page;
mod feature_text;
mod features;
mod file_key;
mod generate;
mod hooks;
mod inspect;
mod load;
mod output;
mod progress;
mod run;
mod serve;
mod serve_args;
mod signals;
mod steered;
mod train;
mod train_args;
mod train_source;
mod train_view;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None => output::welcome(),
        Some(Command::Generate(args)) => generate::generate(args),
        Some(Command::Chat(args)) => {
            return chat::chat(args).unwrap_or_else(|e| output::report(&e));
        }
        Some(Command::Run(args)) => run::run(args),
        Some(Command::Features(args)) => features::features(args),
        Some(Command::Dashboard(args)) => dashboard::dashboard(args),
        Some(Command::Hooks(args)) => hooks::hooks(args),
        Some(Command::Inspect(args)) => inspect::inspect(args),
        Some(Command::Convert(args)) => convert::convert(args),
        Some(Command::Encode(args)) => encode::encode(args),
        Some(Command::Collect(args)) => {
            return collect::collect(args).unwrap_or_else(|e| output::report(&e));
        }
        Some(Command::Train(args)) => {
            return train::train(args).unwrap_or_else(|e| output::report(&e));
        }
        Some(Command::Eval(args)) => eval::eval(args),
        Some(Command::Serve(args)) => serve::serve(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::report(&error),
    }
}
