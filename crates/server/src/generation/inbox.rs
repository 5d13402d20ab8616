//! The state that handlers share with the worker thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::request::{GenerationHandle, GenerationRequest};
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Mutex<Inbox>,
    pub(crate) wake: Condvar,
    /// One for each row and each place in the queue.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// Closed when the thread has ended.
    pub(crate) alive: watch::Receiver<()>,
}

/// Between those who ask and the thread.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) arrivals: Vec<RequestGroup>,
    pub(crate) closing: bool,
}

/// Generations that are admitted together.
#[derive(Debug)]
pub(crate) struct RequestGroup {
    pub(crate) asks: Vec<GenerationRequest>,
    pub(crate) places: OwnedSemaphorePermit,
    pub(crate) asked: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<GenerationHandle>, ApiError>>,
}

impl Shared {
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // What is behind it is whole at every moment, so a panic elsewhere does not matter.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What arrived; waits for something to arrive if there is nothing to do. None when closing.
    pub(crate) fn arrivals(&self, idle: bool) -> Option<Vec<RequestGroup>> {
        let mut inbox = self.inbox();
        while idle && inbox.arrivals.is_empty() && !inbox.closing {
            inbox = self.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        (!inbox.closing).then(|| std::mem::take(&mut inbox.arrivals))
    }
}
