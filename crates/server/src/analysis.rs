//! Forward passes beside the generations, one at a time.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;
use web_time::Instant;

use crate::config::Limits;
use crate::error::ApiError;
use crate::platform::{run_blocking, within};
use crate::served_model::ServedModel;

/// Maximum time that a request waits in the queue.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Maximum number of waiting requests.
const MAX_WAITING: usize = 64;

/// A queue of forward passes and other work on the model that does not generate text.
#[derive(Debug, Clone)]
pub(crate) struct AnalysisQueue {
    /// One permit for each request that may wait or run.
    places: Arc<Semaphore>,
    /// One permit, held by the request that runs.
    running: Arc<Semaphore>,
    max_wait: Duration,
    /// Maximum running time of one request.
    timeout: Duration,
}

/// The time limit of a request that consists of several parts. It is also over when the client has
/// disconnected.
#[derive(Debug)]
pub(crate) struct Deadline {
    client: Weak<()>,
    started: Instant,
    timeout: Duration,
}

impl Deadline {
    /// Checks that the next part may begin.
    ///
    /// # Errors
    /// 400 if the time is up or the client has disconnected.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.client.strong_count() == 0 {
            return Err(ApiError::bad_request("the client has disconnected"));
        }
        if self.started.elapsed() < self.timeout {
            return Ok(());
        }
        let message = format!(
            "the request took longer than the limit of {} seconds; split it into smaller requests",
            self.timeout.as_secs()
        );
        Err(ApiError::bad_request(message).with_code("time_out"))
    }

    /// Breaks off where [`check`](Self::check) is an error.
    pub(crate) fn go_on(&self) -> ControlFlow<()> {
        if self.check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Default for AnalysisQueue {
    fn default() -> Self {
        Self::new(Limits::default().request_timeout)
    }
}

impl AnalysisQueue {
    /// A queue in which each request may run for `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_WAITING + 1)),
            running: Arc::new(Semaphore::new(1)),
            max_wait: MAX_WAIT,
            timeout,
        }
    }

    /// Runs `work`, which checks the deadline between its parts, and serialises its result.
    ///
    /// Serialisation belongs to the running request, so that only one large answer is in memory.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) async fn answer<T: Serialize>(
        &self,
        served: &Arc<ServedModel>,
        work: impl FnOnce(&ServedModel, &Deadline) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let answer = |served: &ServedModel, deadline: &Deadline| {
            work(served, deadline).map(|answer| Json(answer).into_response())
        };
        self.run_in_parts(served, answer).await
    }

    /// Runs `work`, which checks the deadline between its parts.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) async fn run_in_parts<T: Send + 'static>(
        &self,
        served: &Arc<ServedModel>,
        work: impl FnOnce(&ServedModel, &Deadline) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let client = Arc::new(());
        let (client_alive, timeout) = (Arc::downgrade(&client), self.timeout);
        let done = self.run(served, move |served| {
            work(served, &Deadline { client: client_alive, started: Instant::now(), timeout })
        });
        let done = done.await;
        // Held until here: when the client disconnects, this future and `client` are dropped.
        drop(client);
        done
    }

    /// Runs `work` after the requests before it.
    ///
    /// # Errors
    /// 429 if the queue is full or the wait too long, 500 if `work` panics, and the errors of `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        served: &Arc<ServedModel>,
        work: impl FnOnce(&ServedModel) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || ApiError::too_many_requests("too many requests are waiting", 1);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = within(self.max_wait, Arc::clone(&self.running).acquire_owned());
        let turn = turn.await.ok_or_else(busy)?.expect("the semaphore is never closed");
        let served = Arc::clone(served);
        let done = run_blocking(move || {
            // Held until the work is done, even if the client disconnects.
            let _held = (place, turn);
            work(&served)
        });
        done.await?
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::server_fixture::served_model;

    #[tokio::test]
    async fn a_request_that_waits_too_long_is_told_to_retry() {
        let queue =
            AnalysisQueue { max_wait: Duration::from_millis(20), ..AnalysisQueue::default() };
        let served = Arc::new(served_model());
        let _turn = Arc::clone(&queue.running).try_acquire_owned().unwrap();

        let error = queue.run(&served, |_| Ok(())).await.unwrap_err();

        assert_eq!((error.status, error.retry_after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    }

    #[tokio::test]
    async fn no_more_requests_wait_than_there_are_places() {
        let queue =
            AnalysisQueue { places: Arc::new(Semaphore::new(0)), ..AnalysisQueue::default() };

        let error = queue.run(&Arc::new(served_model()), |_| Ok(())).await.unwrap_err();

        assert_eq!(error.status, StatusCode::TOO_MANY_REQUESTS);
    }

    #[tokio::test]
    async fn work_in_parts_ends_when_its_client_disconnects() {
        let (queue, served) = (AnalysisQueue::default(), Arc::new(served_model()));
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = tokio::sync::oneshot::channel();
        let work = move |_: &ServedModel, deadline: &Deadline| {
            begun.send(()).unwrap();
            while deadline.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            end.send(()).unwrap();
            Ok(())
        };
        let client = tokio::spawn(async move { queue.answer(&served, work).await });
        begins.await.unwrap();

        client.abort();

        tokio::time::timeout(Duration::from_secs(20), ends).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn work_in_parts_ends_when_its_time_is_up() {
        let queue = AnalysisQueue::new(Duration::from_millis(20));
        let work = |_: &ServedModel, deadline: &Deadline| loop {
            deadline.check()?;
            std::thread::sleep(Duration::from_millis(1));
        };

        let served = Arc::new(served_model());
        let answer = queue.answer::<()>(&served, work);
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap();

        let error = answer.unwrap_err();
        assert_eq!((error.status, error.code), (StatusCode::BAD_REQUEST, Some("time_out")));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_request_runs() {
        let (queue, served) = (AnalysisQueue::default(), Arc::new(served_model()));

        let error = queue.run::<()>(&served, |_| panic!("expected by the test")).await.unwrap_err();
        let next = queue.run(&served, |served| Ok(served.name.clone())).await;

        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(next, Ok("tiny".to_owned()));
    }
}
