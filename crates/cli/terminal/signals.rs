//! The end of a command on Ctrl-C and SIGTERM (Slurm preemption, Kubernetes eviction).
//!
//! A signal ends the process at once, after its temporary files are deleted. A command that can do
//! better, by saving a checkpoint for example, watches an [`InterruptFlag`]; then the first signal only
//! sets the flag.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use anyhow::{Context, Result};
use nanoscope_checkpoint::without_temporaries;
use ratatui::crossterm::terminal::disable_raw_mode;
use signal_hook::consts::SIGINT;
use signal_hook::low_level;

/// True while a command watches for the first signal.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// The first signal; 0 before it arrives.
static ARRIVED: AtomicI32 = AtomicI32::new(0);

/// Handles Ctrl-C and SIGTERM from now on.
pub(crate) fn handle() -> Result<()> {
    const FAILED: &str = "could not watch for Ctrl-C";

    let signals = signals().context(FAILED)?;
    let handle = move || signals.for_each(on_signal);
    thread::Builder::new().name("signals".to_owned()).spawn(handle).context(FAILED)?;
    Ok(())
}

/// The signals as they arrive, without an end.
#[cfg(unix)]
fn signals() -> io::Result<impl Iterator<Item = i32>> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, signal_hook::consts::SIGTERM])?;
    Ok(std::iter::from_fn(move || signals.forever().next()))
}

/// The signals as they arrive, without an end. Windows has Ctrl-C alone, and no queue of signals.
#[cfg(not(unix))]
fn signals() -> io::Result<impl Iterator<Item = i32>> {
    use std::sync::Arc;
    use std::time::Duration;

    let has_arrived = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&has_arrived))?;
    Ok(std::iter::repeat_with(move || {
        while !has_arrived.swap(false, Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(25));
        }
        SIGINT
    }))
}

fn on_signal(signal: i32) {
    let is_first = ARRIVED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if is_first && IS_WATCHED.load(Ordering::SeqCst) {
        return;
    }
    if is_first {
        let note = b"note: interrupted\n";
        // Not through the standard library, whose lock another thread may hold.
        #[cfg(unix)]
        let _ = rustix::io::write(rustix::stdio::stderr(), note);
        #[cfg(not(unix))]
        let _ = io::Write::write(&mut io::stderr(), note);
    }
    end_now(code_of(signal));
}

/// Ends the process at once: deletes its temporary files and restores the terminal, but does not wait
/// for output that nobody reads.
pub(crate) fn end_now(code: u8) -> ! {
    let _ = disable_raw_mode();
    without_temporaries(|| low_level::exit(code.into()))
}

/// The exit code of a command that ended because of the signal that arrived, as shells report it: 130
/// for Ctrl-C, 143 for SIGTERM.
pub(crate) fn exit_code() -> ExitCode {
    ExitCode::from(arrived().unwrap_or_else(|| code_of(SIGINT)))
}

/// The exit code for the signal that arrived, if one has.
pub(crate) fn arrived() -> Option<u8> {
    Some(ARRIVED.load(Ordering::SeqCst)).filter(|&signal| signal != 0).map(code_of)
}

fn code_of(signal: i32) -> u8 {
    128 + signal as u8
}

/// A flag that the first Ctrl-C or SIGTERM sets. The second ends the process, and so does the first
/// after the flag was dropped.
#[derive(Debug)]
pub(crate) struct InterruptFlag(());

impl InterruptFlag {
    /// Watches for the signals from now on.
    pub(crate) fn watch() -> Self {
        IS_WATCHED.store(true, Ordering::SeqCst);
        Self(())
    }

    /// Returns whether a signal has arrived.
    #[allow(clippy::unused_self, reason = "only a command that watches may go on after a signal")]
    pub(crate) fn is_set(&self) -> bool {
        arrived().is_some()
    }

    /// Breaks once a signal has arrived.
    pub(crate) fn control_flow(&self) -> ControlFlow<()> {
        if self.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for InterruptFlag {
    fn drop(&mut self) {
        IS_WATCHED.store(false, Ordering::SeqCst);
    }
}
