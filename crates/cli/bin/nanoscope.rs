//! The binary `nanoscope`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nanoscope_cli::run_from(std::env::args_os())
}
