//! The state that handlers share with the worker thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::request::{Ask, Running};
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) door: Mutex<Door>,
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
pub(crate) struct Door {
    pub(crate) arrivals: Vec<Group>,
    pub(crate) closing: bool,
}

/// Generations that are admitted together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) asks: Vec<Ask>,
    pub(crate) places: OwnedSemaphorePermit,
    pub(crate) asked: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<Running>, ApiError>>,
}

impl Shared {
    pub(crate) fn door(&self) -> MutexGuard<'_, Door> {
        // What is behind it is whole at every moment, so a panic elsewhere does not matter.
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What arrived; waits for something to arrive if there is nothing to do. None when closing.
    pub(crate) fn arrivals(&self, idle: bool) -> Option<Vec<Group>> {
        let mut door = self.door();
        while idle && door.arrivals.is_empty() && !door.closing {
            door = self.wake.wait(door).unwrap_or_else(PoisonError::into_inner);
        }
        (!door.closing).then(|| std::mem::take(&mut door.arrivals))
    }
}
