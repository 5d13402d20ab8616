//! Forward passes beside the generations, one at a time.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use web_time::Instant;

use crate::clients::{ClientId, FairQueue, Ledger, Resource};
use crate::error::ApiError;
use crate::served_model::ServedModel;

/// A queue of forward passes and other work on the model that does not generate text.
#[derive(Debug, Clone)]
pub(crate) struct AnalysisQueue {
    queue: FairQueue,
    /// The client whose work it is.
    pub(crate) client: ClientId,
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

impl AnalysisQueue {
    /// A queue in which each request may run for `timeout`.
    pub(crate) fn new(ledger: Ledger, timeout: Duration) -> Self {
        let queue = FairQueue::new(ledger, Resource::Passes, 1);
        Self { queue, client: ClientId::of_address(std::net::Ipv4Addr::LOCALHOST.into()), timeout }
    }

    /// Answers all requests that wait or run, and all later ones, with 503.
    pub(crate) fn close(&self) {
        self.queue.close();
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
    /// As [`FairQueue::run`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        served: &Arc<ServedModel>,
        work: impl FnOnce(&ServedModel) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let served = Arc::clone(served);
        self.queue.run(self.client, move || work(&served)).await
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::config::Limits;
    use crate::server_fixture::served_model;

    fn queue(timeout: Duration) -> AnalysisQueue {
        AnalysisQueue::new(Ledger::new(&Limits::default(), 1), timeout)
    }

    #[tokio::test]
    async fn work_in_parts_ends_when_its_client_disconnects() {
        let (queue, served) = (queue(Duration::from_mins(5)), Arc::new(served_model()));
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
        let queue = queue(Duration::from_millis(20));
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
}
