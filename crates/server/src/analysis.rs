//! AnalysisQueue of the model beside its generations: one at a time.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::error::ApiError;
use crate::served_model::ServedModel;

/// How long a request waits for the passes before it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that wait at most.
const MAX_WAITING: usize = 64;

/// Where work on the model that is no generation is done.
#[derive(Debug, Clone)]
pub(crate) struct AnalysisQueue {
    /// One may wait or work for each.
    places: Arc<Semaphore>,
    /// One works.
    work: Arc<Semaphore>,
    patience: Duration,
    /// How long one may work.
    time: Duration,
}

/// Whether work that has several parts is to go on to the next.
#[derive(Debug)]
pub(crate) struct Deadline {
    client: Weak<()>,
    began: Instant,
    time: Duration,
}

impl Deadline {
    /// # Errors
    /// 400 if the time is over, or nobody waits for the answer any more.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.client.strong_count() == 0 {
            return Err(ApiError::bad_request("the client is gone"));
        }
        if self.began.elapsed() < self.time {
            return Ok(());
        }
        let message = format!(
            "this server works on one request for {} seconds at most; ask for less at once",
            self.time.as_secs()
        );
        Err(ApiError::bad_request(message).with_code("time_out"))
    }
}

impl Default for AnalysisQueue {
    fn default() -> Self {
        Self::new(Limits::default().request_timeout)
    }
}

impl AnalysisQueue {
    /// Each of them may take `time`.
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_WAITING + 1)),
            work: Arc::new(Semaphore::new(1)),
            patience: PATIENCE,
            time,
        }
    }

    /// Does `work`, which asks between its parts whether to go on, and makes the answer of it too
    /// before the next may begin: one large answer is in memory at a time.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) async fn answer<T: Serialize>(
        &self,
        served: &Arc<ServedModel>,
        work: impl FnOnce(&ServedModel, &Deadline) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let client = Arc::new(());
        let (client_of_work, time) = (Arc::downgrade(&client), self.time);
        let answered = self.run(served, move |served| {
            let deadline = Deadline { client: client_of_work, began: Instant::now(), time };
            work(served, &deadline).map(|answer| Json(answer).into_response())
        });
        let answered = answered.await;
        // It was held until here: whoever goes away drops it.
        drop(client);
        answered
    }

    /// Does `work` when what came before is done.
    ///
    /// # Errors
    /// 429 if too many wait or it takes too long until then, 500 if it panics, and its own.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        served: &Arc<ServedModel>,
        work: impl FnOnce(&ServedModel) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || ApiError::too_many_requests("too many requests are waiting", 1);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.work).acquire_owned());
        let turn = turn.await.map_err(|_| busy())?.expect("it is never closed");
        let served = Arc::clone(served);
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when its client has gone away.
            let _held = (place, turn);
            work(&served)
        });
        done.await.unwrap_or_else(|_| Err(ApiError::internal()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::server_fixture::served_model;

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_come_back() {
        let passes =
            AnalysisQueue { patience: Duration::from_millis(20), ..AnalysisQueue::default() };
        let served = Arc::new(served_model());
        let _turn = Arc::clone(&passes.work).try_acquire_owned().unwrap();

        let error = passes.run(&served, |_| Ok(())).await.unwrap_err();

        assert_eq!((error.status, error.retry_after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    }

    #[tokio::test]
    async fn no_more_wait_than_there_are_places() {
        let passes =
            AnalysisQueue { places: Arc::new(Semaphore::new(0)), ..AnalysisQueue::default() };

        let error = passes.run(&Arc::new(served_model()), |_| Ok(())).await.unwrap_err();

        assert_eq!(error.status, StatusCode::TOO_MANY_REQUESTS);
    }

    #[tokio::test]
    async fn work_in_parts_ends_when_its_client_is_gone() {
        let (passes, served) = (AnalysisQueue::default(), Arc::new(served_model()));
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
        let client = tokio::spawn(async move { passes.answer(&served, work).await });
        begins.await.unwrap();

        client.abort();

        tokio::time::timeout(Duration::from_secs(20), ends).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn work_in_parts_ends_when_its_time_is_over() {
        let passes = AnalysisQueue::new(Duration::from_millis(20));
        let work = |_: &ServedModel, deadline: &Deadline| loop {
            deadline.check()?;
            std::thread::sleep(Duration::from_millis(1));
        };

        let served = Arc::new(served_model());
        let answer = passes.answer::<()>(&served, work);
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap();

        let error = answer.unwrap_err();
        assert_eq!((error.status, error.code), (StatusCode::BAD_REQUEST, Some("time_out")));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_is_done() {
        let (passes, served) = (AnalysisQueue::default(), Arc::new(served_model()));

        let error = passes.run::<()>(&served, |_| panic!("a test's own")).await.unwrap_err();
        let next = passes.run(&served, |served| Ok(served.name.clone())).await;

        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(next, Ok("tiny".to_owned()));
    }
}
