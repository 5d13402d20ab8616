//! `nanoscope man`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Command};
use clap_mangen::Man;
use nanoscope_hooks::did_you_mean;
use roff::{Roff, roman};

use crate::preflight::output_folder;
use crate::terminal::display::counted;
use crate::write_file::write_file;

/// Print or write manual pages
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope man generate | man -l -
      the page of one command
  nanoscope man --out ~/.local/share/man/man1
      a page for each command; then `man nanoscope` and `man nanoscope-generate`")]
pub(crate) struct ManArgs {
    /// The command whose page is printed; without one, the program's
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    pub(crate) command: Option<String>,
    /// Write the pages of the program and of all commands to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Prints or writes the pages of `program`, the parser of the whole command line.
pub(crate) fn man(args: &ManArgs, program: Command) -> Result<()> {
    let pages = pages(program);
    let mut stdout = std::io::stdout().lock();
    if let Some(out) = &args.out {
        let out = output_folder(out)?;
        for (name, page) in &pages {
            write_file(&out.join(format!("{name}.1")), page)?;
        }
        let written = counted(pages.len() as u64, "page", "pages");
        writeln!(stdout, "{}: {written}", out.display())?;
        return Ok(());
    }
    let wanted = args.command.as_ref().map_or(PROGRAM.to_owned(), |name| page_name(name));
    let Some((_, page)) = pages.iter().find(|(name, _)| *name == wanted) else {
        let command = args.command.as_deref().unwrap_or_default();
        let prefix = page_name("");
        let known = pages.iter().filter_map(|(name, _)| name.strip_prefix(&prefix));
        bail!("unknown command `{command}`{}", did_you_mean(command, known));
    };
    Ok(stdout.write_all(page)?)
}

const PROGRAM: &str = "nanoscope";

fn page_name(command: &str) -> String {
    format!("{PROGRAM}-{command}")
}

/// The name of each page without its section, and its text for `man`.
fn pages(program: Command) -> Vec<(String, Vec<u8>)> {
    // `nanoscope help` has no flags of its own.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let commands: Vec<_> = program.get_subcommands().cloned().collect();
    let of_commands = commands.into_iter().map(|command| (page_name(command.get_name()), command));
    let all = [(PROGRAM.to_owned(), program.clone())].into_iter().chain(of_commands);
    all.map(|(name, command)| (name, page(command))).collect()
}

fn page(command: Command) -> Vec<u8> {
    let version = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.has_subcommands();
    let man = Man::new(command).source(version);
    let mut page = Vec::new();
    let mut write = || {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if has_commands {
            man.render_subcommands_section(&mut page)?;
        }
        after_help(&after).to_writer(&mut page)
    };
    write().expect("a vector can be written to");
    page
}

/// The section with a command's examples, whose lines stay as they are.
fn after_help(text: &str) -> Roff {
    let mut roff = Roff::new();
    if text.is_empty() {
        return roff;
    }
    let (heading, lines) = match text.strip_prefix("Examples:\n") {
        Some(examples) => ("EXAMPLES", examples),
        None => ("NOTES", text),
    };
    roff.control("SH", [heading]).control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}
