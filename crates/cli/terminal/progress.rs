//! Spinners and progress bars for slow work.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The time after which a spinner or a bar appears.
const SHOW_AFTER: Duration = Duration::from_secs(2);

/// Does `work`. If it takes long, a spinner shows `what` and the elapsed time.
pub(crate) fn with_spinner<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(SHOW_AFTER) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            spinner.set_style(style.expect("the template is a constant"));
            spinner.enable_steady_tick(Duration::from_millis(100));
            // Waits until the work is done, which drops the sender.
            let _ = waiting.recv();
            spinner.finish_and_clear();
        });
        let result = work();
        drop(done);
        result
    })
}

/// A progress bar that appears only if the work takes long.
#[derive(Debug)]
pub(crate) struct DelayedBar {
    bar: ProgressBar,
    since: Instant,
}

impl DelayedBar {
    /// A bar for `what`, which has `total` steps, counted in `unit`.
    pub(crate) fn new(what: &str, total: u64, unit: &str) -> Self {
        let template = format!("{what} {{bar:30}} {{human_pos}}/{{human_len}} {unit} {{eta}}");
        let style = ProgressStyle::with_template(&template).expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        bar.set_style(style);
        Self { bar, since: Instant::now() }
    }

    /// Sets the number of steps done, and of all steps.
    #[cfg(feature = "remote")]
    pub(crate) fn set_of(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.set(done);
    }

    /// Sets the number of steps done.
    pub(crate) fn set(&self, done: u64) {
        if self.bar.is_hidden() && self.since.elapsed() > SHOW_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done);
    }
}

impl Drop for DelayedBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
