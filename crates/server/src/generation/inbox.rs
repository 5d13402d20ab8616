//! The state that handlers share with the worker.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use web_time::Instant;

use super::request::{GenerationHandle, GenerationRequest};
use crate::clients::{Held, Ledger};
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;

/// State shared by all handlers and the worker.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Mutex<Inbox>,
    /// Wakes the worker if it has a thread of its own.
    arrived: Condvar,
    /// Wakes the worker if it shares a thread.
    notify: Notify,
    pub(crate) ledger: Ledger,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// Closed when the worker has ended.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))] // there is no second thread
    pub(crate) alive: watch::Receiver<()>,
}

/// Request groups that the worker has not picked up yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) arrivals: Vec<RequestGroup>,
    pub(crate) closing: bool,
}

/// Generation requests that are accepted or rejected together.
#[derive(Debug)]
pub(crate) struct RequestGroup {
    pub(crate) requests: Vec<GenerationRequest>,
    /// A place for each request, held by the client.
    pub(crate) places: Held,
    pub(crate) requested_at: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<GenerationHandle>, ApiError>>,
}

impl Shared {
    pub(crate) fn new(
        limits: Limits,
        metrics: Arc<Metrics>,
        ledger: Ledger,
        alive: watch::Receiver<()>,
    ) -> Self {
        let (arrived, notify) = (Condvar::new(), Notify::new());
        Self { inbox: Mutex::default(), arrived, notify, ledger, limits, metrics, alive }
    }

    /// Locks the inbox.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // No operation leaves the inbox half changed, so a poisoned lock is safe to use.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the groups that have arrived, or `None` once the scheduler is closing. With `idle`, blocks
    /// until there is a group.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))] // there is no second thread
    pub(crate) fn arrivals(&self, idle: bool) -> Option<Vec<RequestGroup>> {
        let mut inbox = self.inbox();
        while idle && inbox.arrivals.is_empty() && !inbox.closing {
            inbox = self.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        inbox.take()
    }

    /// As [`arrivals`](Self::arrivals), and lets the thread do other work until there is a group.
    pub(crate) async fn next_arrivals(&self, idle: bool) -> Option<Vec<RequestGroup>> {
        loop {
            let taken = self.inbox().take();
            if !idle || taken.as_ref().is_none_or(|groups| !groups.is_empty()) {
                return taken;
            }
            self.notify.notified().await;
        }
    }

    /// Wakes the worker after a change of the inbox.
    pub(crate) fn wake(&self) {
        self.arrived.notify_one();
        self.notify.notify_one();
    }
}

impl Inbox {
    /// Takes the groups that have arrived, or `None` once the scheduler is closing.
    fn take(&mut self) -> Option<Vec<RequestGroup>> {
        (!self.closing).then(|| std::mem::take(&mut self.arrivals))
    }
}
