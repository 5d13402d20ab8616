//! `nanoscope chat` in a terminal, and after the terminal is gone.

use std::fs::File;
use std::io::Read;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, tcgetattr};

use crate::{nanoscope, pseudo_terminal, signal};

/// Many times what a loaded machine needs to end a process.
const SOON: Duration = Duration::from_secs(20);

/// Drawn with the features of the first token. A single character, because a frame contains only the
/// cells that changed.
const BAR: &str = "█";

/// A dialogue in a terminal of 80 by 24 cells.
struct Dialogue {
    child: Child,
    /// The dialogue's side of the terminal.
    inner: File,
    /// The other side; the terminal hangs up when it is closed.
    outer: File,
}

impl Dialogue {
    /// Starts a dialogue and waits for its input line.
    fn start(args: &[&str]) -> Self {
        let mut dialogue = Self::start_as("xterm", args);
        dialogue.wait_for("›");
        dialogue
    }

    /// Starts a dialogue with `TERM` set to `term`.
    fn start_as(term: &str, args: &[&str]) -> Self {
        let (outer, inner) = pseudo_terminal();
        let stdio = || Stdio::from(inner.try_clone().unwrap());
        let mut command = nanoscope(&["chat"]).args(args).env("TERM", term).into_command();
        let child = command
            .env_remove("NO_COLOR")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("the binary was built for this test");
        Self { child, inner, outer }
    }

    /// Reads until `text` has been written.
    fn wait_for(&mut self, text: &str) {
        let mut written = Vec::new();
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&written).contains(text) {
            let mut ready = [PollFd::new(&self.outer, PollFlags::IN)];
            let soon = Timespec { tv_sec: 60, tv_nsec: 0 };
            assert_eq!(poll(&mut ready, Some(&soon)).unwrap(), 1, "{text:?} was not written");
            let count = self.outer.read(&mut bytes).unwrap();
            written.extend_from_slice(&bytes[..count]);
        }
    }

    fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.inner).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

/// The exit status of a dialogue that must end soon.
#[track_caller]
fn end(mut child: Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > SOON {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the dialogue did not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_dialogue_ends_when_its_terminal_goes_away_without_a_signal() {
    let Dialogue { child, inner, outer } = Dialogue::start(&[]);

    drop((inner, outer));

    assert_eq!(end(child).code(), Some(129));
}

#[test]
fn a_dialogue_ends_when_its_terminal_goes_away_while_a_text_is_written() {
    let mut dialogue = Dialogue::start(&["--max-tokens", "400", "--prompt", "Once upon a time"]);
    dialogue.wait_for(BAR);
    let Dialogue { child, inner, outer } = dialogue;

    drop((inner, outer));

    assert_eq!(end(child).code(), Some(129));
}

#[test]
fn a_dialogue_in_lines_ends_with_its_terminal_and_not_in_a_panic() {
    let mut dialogue = Dialogue::start_as("dumb", &["--max-tokens", "4", "--prompt", "Once"]);
    dialogue.wait_for("Once");
    let Dialogue { child, inner, outer } = dialogue;

    drop((inner, outer));

    // The end of its input, or an error of the terminal.
    let code = end(child).code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

#[test]
fn signals_end_a_dialogue_and_the_terminal_is_given_back() {
    for (signal, code) in [("HUP", 129), ("TERM", 143), ("INT", 130)] {
        let dialogue = Dialogue::start(&[]);
        assert!(dialogue.is_raw());

        dialogue.signal(signal);

        let Dialogue { child, inner, outer } = dialogue;
        assert_eq!(end(child).code(), Some(code), "{signal}");
        let modes = tcgetattr(&inner).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON), "{signal}");
        drop(outer);
    }
}

#[test]
fn a_signal_ends_a_dialogue_whose_terminal_takes_nothing_any_more() {
    let mut dialogue = Dialogue::start(&["--max-tokens", "400", "--prompt", "Once upon a time"]);
    dialogue.wait_for(BAR);
    // Meanwhile it draws more than the unread terminal can buffer.
    thread::sleep(Duration::from_secs(4));

    dialogue.signal("TERM");

    let Dialogue { child, inner, outer } = dialogue;
    assert_eq!(end(child).code(), Some(143));
    let modes = tcgetattr(&inner).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ICANON));
    drop(outer);
}
