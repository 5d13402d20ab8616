//! The state that handlers share with the worker thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::request::{GenerationHandle, GenerationRequest};
use crate::clients::{Held, Ledger};
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;

/// State shared by all handlers and the worker thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Mutex<Inbox>,
    pub(crate) wake: Condvar,
    pub(crate) ledger: Ledger,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// Closed when the worker thread has ended.
    pub(crate) alive: watch::Receiver<()>,
}

/// Request groups that the worker thread has not picked up yet.
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
    /// Locks the inbox.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // No operation leaves the inbox half changed, so a poisoned lock is safe to use.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the groups that have arrived, or `None` once the scheduler is closing. With `idle`, blocks
    /// until there is a group.
    pub(crate) fn arrivals(&self, idle: bool) -> Option<Vec<RequestGroup>> {
        let mut inbox = self.inbox();
        while idle && inbox.arrivals.is_empty() && !inbox.closing {
            inbox = self.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        (!inbox.closing).then(|| std::mem::take(&mut inbox.arrivals))
    }
}
