//! Pseudo-terminals.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::nanoscope;

/// A terminal of 24 lines of `columns` cells: the program's side and the other one, which hangs up when it
/// is closed.
pub(crate) fn terminal(columns: u16) -> (File, File) {
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&outer).unwrap();
    unlockpt(&outer).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&outer, size).unwrap();
    let name = ptsname(&outer, Vec::new()).unwrap().into_string().unwrap();
    // It must not become the controlling terminal of the tests, which would end with it.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    (File::from(open(name, flags, Mode::empty()).unwrap()), File::from(outer))
}

/// Reads a terminal in the background until nobody has its other side open. What is not read would stop who writes.
pub(crate) fn read_all(mut outer: File) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut written, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = outer.read(&mut bytes) {
            written.extend_from_slice(&bytes[..count]);
        }
        String::from_utf8(written).unwrap()
    })
}

/// The lines that a run writes to a terminal of `columns` cells, without colours.
pub(crate) fn lines(columns: u16, args: &[&str]) -> Vec<String> {
    let (inner, outer) = terminal(columns);
    let mut command = nanoscope(args).env("NO_COLOR", "1").into_command();
    let stdio = || Stdio::from(inner.try_clone().unwrap());
    let mut child = command.stdin(Stdio::null()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
    drop((command, inner));
    let reader = read_all(outer);
    assert!(child.wait().unwrap().success());
    reader.join().unwrap().lines().map(|line| line.trim_end().to_owned()).collect()
}
