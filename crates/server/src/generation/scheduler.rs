//! The scheduler, through which handlers start generations.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use web_time::Instant;

use super::inbox::{RequestGroup, Shared};
use super::request::{GenerationHandle, GenerationRequest};
use super::worker::{CloseOnDrop, Worker};
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::served_model::ServedModel;

/// Starts generations on the worker. Clones share one worker.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
}

/// A worker that has not been started yet. Requests wait for it.
#[derive(Debug)]
pub(crate) struct IdleWorker {
    shared: Arc<Shared>,
    served: Arc<ServedModel>,
    /// Dropped when the worker has ended.
    life: watch::Sender<()>,
}

impl IdleWorker {
    /// Starts the worker on a thread of its own.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        let Self { shared, served, life } = self;
        let thread = std::thread::Builder::new().name("scheduler".to_owned());
        thread.spawn(move || {
            let _life = life;
            let _closing = CloseOnDrop(&shared);
            Worker::new(&shared, &served).run();
        })?;
        Ok(())
    }

    /// Runs the worker on this thread, which does other work while `pause` waits, after each step.
    pub(crate) async fn run_with_pauses(self, pause: impl AsyncFn()) {
        let Self { shared, served, life } = self;
        let _life = life;
        let _closing = CloseOnDrop(&shared);
        Worker::new(&shared, &served).run_with_pauses(pause).await;
    }
}

impl Scheduler {
    /// A scheduler, with its worker.
    pub(crate) fn new(
        served: Arc<ServedModel>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> (Self, IdleWorker) {
        let (life, alive) = watch::channel(());
        let shared = Arc::new(Shared::new(limits, metrics, alive));
        (Self { shared: Arc::clone(&shared) }, IdleWorker { shared, served, life })
    }

    /// Starts all of `requests`, or none of them.
    ///
    /// # Errors
    /// 429 if the queue is full, 400 if there are more requests than the queue can ever hold or one of
    /// them is invalid, 503 while shutting down.
    pub(crate) async fn start(
        &self,
        requests: Vec<GenerationRequest>,
    ) -> Result<Vec<GenerationHandle>, ApiError> {
        self.check(requests.len())?;
        let limits = &self.shared.limits;
        let places = Arc::clone(&self.shared.places).try_acquire_many_owned(requests.len() as u32);
        let Ok(places) = places else {
            let waiting = limits.rows + limits.queue - self.shared.places.available_permits();
            let retry_after = 1 + waiting / limits.rows.max(1);
            return Err(ApiError::too_many_requests(
                "too many requests are waiting",
                retry_after as u64,
            ));
        };
        let (reply, answer) = oneshot::channel();
        {
            let mut inbox = self.shared.inbox();
            if inbox.closing {
                return Err(ApiError::shutting_down());
            }
            inbox.arrivals.push(RequestGroup {
                requests,
                places,
                requested_at: Instant::now(),
                reply,
            });
        }
        self.shared.wake();
        answer.await.unwrap_or_else(|_| Err(ApiError::shutting_down()))
    }

    /// Checks that `found` generations fit into an empty queue. Callers can check this before they
    /// build the requests.
    ///
    /// # Errors
    /// 400 if they do not fit.
    pub(crate) fn check(&self, found: usize) -> Result<(), ApiError> {
        let limits = &self.shared.limits;
        let capacity = limits.rows + limits.queue;
        if found <= capacity {
            return Ok(());
        }
        let message =
            format!("{found} texts requested at once, but this server takes at most {capacity}");
        Err(ApiError::bad_request(message))
    }

    /// Ends all generations with [`End::ShuttingDown`](super::End::ShuttingDown) and rejects new ones.
    pub(crate) fn close(&self) {
        self.shared.inbox().closing = true;
        self.shared.wake();
    }

    /// Waits until the worker has ended.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) async fn closed(&self) {
        // Nothing is ever sent; the channel closes when the thread drops the sender.
        while self.shared.alive.clone().changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nanoscope_runtime::Sampling;

    use super::*;

    fn scheduler(rows: usize, queue: usize) -> Scheduler {
        let limits = Limits { rows, queue, ..Limits::default() };
        let served = Arc::new(crate::server_fixture::served_model());
        let (scheduler, worker) = Scheduler::new(served, limits, Arc::new(Metrics::new()));
        worker.spawn().unwrap();
        scheduler
    }

    fn short() -> GenerationRequest {
        let sampling = Sampling { max_tokens: 2, ..Sampling::default() };
        GenerationRequest { prompt: vec![1, 2], sampling, ..GenerationRequest::default() }
    }

    #[tokio::test]
    async fn a_request_that_the_thread_has_not_picked_up_when_it_ends_is_answered() {
        let scheduler = scheduler(1, 1);
        let places = Arc::clone(&scheduler.shared.places).try_acquire_many_owned(1).unwrap();
        let (reply, answer) = oneshot::channel();
        {
            // Both at once, as if they arrived between two iterations of the thread's loop.
            let mut inbox = scheduler.shared.inbox();
            inbox.arrivals.push(RequestGroup {
                requests: vec![short()],
                places,
                requested_at: Instant::now(),
                reply,
            });
            inbox.closing = true;
        }
        scheduler.shared.wake();

        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;

        assert!(answer.expect("an answer").is_err(), "it was accepted");
        assert_eq!(scheduler.start(vec![short()]).await.unwrap_err(), ApiError::shutting_down());
    }

    #[tokio::test]
    async fn a_place_is_taken_until_the_events_are_read_or_dropped() {
        let scheduler = scheduler(1, 0);
        let mut handles = scheduler.start(vec![short()]).await.unwrap();
        while handles[0].next().await.is_some() {}

        let refused = scheduler.start(vec![short()]).await.unwrap_err();
        drop(handles);
        let next = scheduler.start(vec![short()]).await;

        assert_eq!(refused.status, axum::http::StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(next.unwrap().len(), 1);
    }
}
