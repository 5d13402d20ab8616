//! `nanoscope completions`.

use std::io::Write;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Args, Command};
use clap_complete::Shell;
use nanoscope_checkpoint::SaeFormatName;
use nanoscope_hooks::HookPoint;
use nanoscope_transformer::Era;

/// Print a script that completes commands and flags in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
To install it:
  bash        nanoscope completions bash > ~/.local/share/bash-completion/completions/nanoscope
  zsh         nanoscope completions zsh > ~/.zfunc/_nanoscope
              with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  fish        nanoscope completions fish > ~/.config/fish/completions/nanoscope.fish
  powershell  nanoscope completions powershell >> $PROFILE
  elvish      nanoscope completions elvish >> ~/.config/elvish/rc.elv

The script completes commands, flags, files, and the names of hook points (of the first 12 blocks),
devices, eras and formats.")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// The number of blocks whose hook points are completed.
const BLOCKS: usize = 12;

/// Prints the script for `program`, the parser of the whole command line.
pub(crate) fn completions(args: &CompletionsArgs, program: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut with_values(program), "nanoscope", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(())
}

/// Names the values of flags that are parsed by types of the libraries.
fn with_values(command: Command) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| {
            command.mut_args(|arg| match values(arg.get_id().as_str()) {
                Some(values) => arg.value_parser(PossibleValuesParser::new(values)),
                None => arg,
            })
        })
    })
}

/// The values of a flag, if they are names.
fn values(flag: &str) -> Option<Vec<String>> {
    let hooks = || HookPoint::all(BLOCKS).map(|hook| hook.to_string());
    Some(match flag {
        "device" => ["auto", "flex", "ndarray", "wgpu", "cuda"].map(str::to_owned).to_vec(),
        "era" => Era::ALL.map(|era| era.to_string()).to_vec(),
        "format" => SaeFormatName::all().map(|format| format.to_string()).collect(),
        "hook" | "capture" => hooks().collect(),
        "track" => std::iter::once("all".to_owned()).chain(hooks()).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_value_is_one_that_the_flag_takes() {
        for format in values("format").unwrap() {
            assert!(format.parse::<SaeFormatName>().is_ok(), "{format}");
        }
        for era in values("era").unwrap() {
            assert!(era.parse::<Era>().is_ok(), "{era}");
        }
        for hook in values("hook").unwrap() {
            assert!(hook.parse::<HookPoint>().is_ok(), "{hook}");
        }
        for track in values("track").unwrap() {
            assert!(track.parse::<crate::args::Track>().is_ok(), "{track}");
        }
        for device in values("device").unwrap() {
            let error = nanoscope_device::by_name(&device).err().map(|error| error.to_string());
            assert!(error.is_none_or(|error| !error.contains("unknown")), "{device}");
        }
    }
}
