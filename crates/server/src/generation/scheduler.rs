//! The scheduler: where handlers ask for generations.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot, watch};

use super::inbox::{RequestGroup, Shared};
use super::request::{GenerationHandle, GenerationRequest};
use super::worker::{CloseOnDrop, Worker};
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::served_model::ServedModel;

/// Where generations are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
}

impl Scheduler {
    /// Starts the thread.
    pub(crate) fn new(
        served: Arc<ServedModel>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let places = Arc::new(Semaphore::new(limits.rows + limits.queue));
        let (life, alive) = watch::channel(());
        let (inbox, wake) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { inbox, wake, places, limits, metrics, alive });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("scheduler".to_owned()).spawn(move || {
            let _life = life;
            let _closing = CloseOnDrop(&of_thread);
            Worker::new(&of_thread, &served).work();
        })?;
        Ok(Self { shared })
    }

    /// Asks for generations that are admitted together, or none of them.
    ///
    /// # Errors
    /// 429 if there is no room for them, 400 if there never is or one of them cannot be followed,
    /// 503 while shutting down.
    pub(crate) async fn start(
        &self,
        asks: Vec<GenerationRequest>,
    ) -> Result<Vec<GenerationHandle>, ApiError> {
        self.check(asks.len())?;
        let limits = &self.shared.limits;
        let places = Arc::clone(&self.shared.places).try_acquire_many_owned(asks.len() as u32);
        let Ok(places) = places else {
            let waiting = limits.rows + limits.queue - self.shared.places.available_permits();
            let patience = 1 + waiting / limits.rows.max(1);
            return Err(ApiError::too_many_requests(
                "too many requests are waiting",
                patience as u64,
            ));
        };
        let (reply, answer) = oneshot::channel();
        {
            let mut inbox = self.shared.inbox();
            if inbox.closing {
                return Err(ApiError::shutting_down());
            }
            inbox.arrivals.push(RequestGroup { asks, places, asked: Instant::now(), reply });
        }
        self.shared.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(ApiError::shutting_down()))
    }

    /// Checks that there can be room for `found` generations at once, which can be known before there
    /// is anything to ask with.
    ///
    /// # Errors
    /// 400 if there never is.
    pub(crate) fn check(&self, found: usize) -> Result<(), ApiError> {
        let limits = &self.shared.limits;
        let capacity = limits.rows + limits.queue;
        if found <= capacity {
            return Ok(());
        }
        let message = format!("{found} texts are asked for at once, this server takes {capacity}");
        Err(ApiError::bad_request(message))
    }

    /// Ends all generations, with the reason said, and takes no more.
    pub(crate) fn close(&self) {
        self.shared.inbox().closing = true;
        self.shared.wake.notify_one();
    }

    /// Waits for the end of the thread.
    pub(crate) async fn closed(&self) {
        // Nothing is ever sent: it is the sender's end that is waited for.
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
        Scheduler::new(
            Arc::new(crate::server_fixture::served_model()),
            limits,
            Arc::new(Metrics::new()),
        )
        .unwrap()
    }

    fn short() -> GenerationRequest {
        let sampling = Sampling { max_tokens: 2, ..Sampling::default() };
        GenerationRequest { prompt: vec![1, 2], sampling, ..GenerationRequest::default() }
    }

    #[tokio::test]
    async fn a_request_that_the_thread_did_not_come_to_before_it_ended_is_answered() {
        let scheduler = scheduler(1, 1);
        let places = Arc::clone(&scheduler.shared.places).try_acquire_many_owned(1).unwrap();
        let (reply, answer) = oneshot::channel();
        {
            // Both at once, as when the two come between a look of the thread and the next.
            let mut inbox = scheduler.shared.inbox();
            inbox.arrivals.push(RequestGroup {
                asks: vec![short()],
                places,
                asked: Instant::now(),
                reply,
            });
            inbox.closing = true;
        }
        scheduler.shared.wake.notify_one();

        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;

        assert!(answer.expect("an answer").is_err(), "it was let in");
        assert_eq!(scheduler.start(vec![short()]).await.unwrap_err(), ApiError::shutting_down());
    }

    #[tokio::test]
    async fn a_place_is_taken_until_what_was_written_in_it_is_read_or_given_up() {
        let scheduler = scheduler(1, 0);
        let mut running = scheduler.start(vec![short()]).await.unwrap();
        while running[0].next().await.is_some() {}

        let refused = scheduler.start(vec![short()]).await.unwrap_err();
        drop(running);
        let next = scheduler.start(vec![short()]).await;

        assert_eq!(refused.status, axum::http::StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(next.unwrap().len(), 1);
    }
}
