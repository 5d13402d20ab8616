//! Opens a page in the user's browser.

use std::process::{Command, ExitStatus, Stdio};
use std::{io, thread};

use crate::terminal::messages::note;

/// Opens `page` with the program that the operating system has for it. A failure is a note, because the
/// address is printed too.
pub(crate) fn open(page: String) {
    // Some of the programs end only with the browser.
    thread::spawn(move || {
        let (program, args) = opener(std::env::consts::OS);
        match run(program, args, &page) {
            Ok(status) if status.success() => {}
            Ok(status) => note(&format!("could not open a browser: {program} ended with {status}")),
            Err(error) => note(&format!("could not open a browser: {program}: {error}")),
        }
    });
}

/// The program that opens an address, and its arguments before the address.
fn opener(system: &str) -> (&'static str, &'static [&'static str]) {
    match system {
        "macos" | "ios" => ("open", &[]),
        // `start` takes its first quoted argument for the title of a window.
        "windows" => ("cmd", &["/C", "start", ""]),
        _ => ("xdg-open", &[]),
    }
}

fn run(program: &str, args: &[&str], page: &str) -> io::Result<ExitStatus> {
    Command::new(program)
        .args(args)
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
}
