//! Graceful shutdown on Ctrl-C and SIGTERM (Slurm preemption, Kubernetes eviction).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// The exit code of an interrupted command, as shells report it for Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C or SIGTERM sets. The second ends the process.
#[derive(Debug, Clone)]
pub(crate) struct InterruptFlag(Arc<AtomicBool>);

impl InterruptFlag {
    /// Watches for the signals from now on.
    pub(crate) fn watch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order, so that the first signal finds the flag not set yet.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                i32::from(INTERRUPTED),
                Arc::clone(&flag),
            )
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("could not watch for Ctrl-C")?;
        }
        Ok(Self(flag))
    }

    /// Returns whether a signal has arrived.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Breaks once a signal has arrived.
    pub(crate) fn control_flow(&self) -> ControlFlow<()> {
        if self.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
