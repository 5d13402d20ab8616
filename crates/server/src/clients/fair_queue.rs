//! A queue for work in which no client waits for more than one piece of work of each other client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{ClientId, Held, Ledger, Refused, Resource};
use crate::error::ApiError;
use crate::platform::{run_blocking, within};

/// Maximum time that work waits.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// A queue for work on other threads. Each client has one piece of work in the common line, so that a
/// client with many does not delay the others. Clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct FairQueue {
    ledger: Ledger,
    resource: Resource,
    /// One permit for each piece of work that may run.
    running: Arc<Semaphore>,
    /// One permit for each client: its work that waits in the common line, or runs.
    of_client: Arc<Mutex<HashMap<ClientId, Weak<Semaphore>>>>,
    closing: Arc<watch::Sender<bool>>,
    max_wait: Duration,
}

/// The right to run, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _running: OwnedSemaphorePermit,
    _of_client: OwnedSemaphorePermit,
    _place: Held,
}

impl FairQueue {
    /// A queue whose work counts as `resource` in `ledger`, of which `parallel` pieces run together.
    pub(crate) fn new(ledger: Ledger, resource: Resource, parallel: usize) -> Self {
        Self {
            ledger,
            resource,
            running: Arc::new(Semaphore::new(parallel)),
            of_client: Arc::default(),
            closing: Arc::new(watch::Sender::new(false)),
            max_wait: MAX_WAIT,
        }
    }

    /// Runs `work` of `client` on another thread after the work before it. The turn is held until the work
    /// is done, even if the client disconnects.
    ///
    /// # Errors
    /// 429 if the client has too much work waiting or the queue is full, 503 if the wait is too long or
    /// the server shuts down, 500 if `work` panics, and the errors of `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        client: ClientId,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let run = async {
            let turn = within(self.max_wait, self.turn(client));
            let turn = turn.await.ok_or_else(ApiError::busy)??;
            let done = run_blocking(move || {
                let _turn = turn;
                work()
            });
            done.await?
        };
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            done = run => done,
            _ = closing.wait_for(|closing| *closing) => Err(ApiError::shutting_down()),
        }
    }

    /// Answers all work that waits or runs, and all later work, with 503.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    async fn turn(&self, client: ClientId) -> Result<Turn, ApiError> {
        let place = self.ledger.take(client, self.resource, 1).map_err(|refused| {
            ApiError::too_many_requests(
                match refused {
                    Refused::Client => "too many requests of this client are waiting",
                    Refused::Everyone => "too many requests are waiting",
                },
                1,
            )
        })?;
        let never = "the semaphores are never closed";
        let of_client = self.of_client(client).acquire_owned().await.expect(never);
        let running = Arc::clone(&self.running).acquire_owned().await.expect(never);
        Ok(Turn { _running: running, _of_client: of_client, _place: place })
    }

    fn of_client(&self, client: ClientId) -> Arc<Semaphore> {
        // No operation leaves the map half changed, so a poisoned lock is safe to use.
        let mut of_client = self.of_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = of_client.get(&client).and_then(Weak::upgrade) {
            return found;
        }
        of_client.retain(|_, semaphore| semaphore.strong_count() > 0);
        let new = Arc::new(Semaphore::new(1));
        of_client.insert(client, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::Limits;

    const ONE: ClientId = ClientId::Key(1);
    const OTHER: ClientId = ClientId::Key(2);

    fn queue() -> FairQueue {
        FairQueue::new(Ledger::new(&Limits::default(), 1), Resource::Passes, 1)
    }

    /// Waits until `count` pieces of work wait or run.
    async fn until_held(queue: &FairQueue, count: usize) {
        while queue.ledger.held(Resource::Passes) != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_client_with_much_work_does_not_delay_another() {
        let queue = queue();
        let (began, mut begins) = mpsc::unbounded_channel();
        let held = queue.turn(ONE).await.unwrap();
        let work = |client| {
            let (queue, began) = (queue.clone(), began.clone());
            tokio::spawn(async move {
                queue
                    .run(client, move || began.send(client).map_err(|_| ApiError::internal()))
                    .await
            })
        };
        let mut waiting: Vec<_> = (0..20).map(|_| work(ONE)).collect();
        until_held(&queue, 21).await;
        waiting.push(work(OTHER));
        until_held(&queue, 22).await;

        drop(held);

        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
        let order: Vec<_> = (0..21).map(|_| begins.try_recv().unwrap()).collect();
        let at = order.iter().position(|client| *client == OTHER).unwrap();
        assert!(at <= 1, "{at} pieces of work of the other client came first");
    }

    #[tokio::test]
    async fn a_client_is_refused_more_than_its_share_and_another_one_is_not() {
        let queue = queue();
        let _held = queue.turn(OTHER).await.unwrap();
        let waiting: Vec<_> = (0..49)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.run(ONE, || Ok(())).await })
            })
            .collect();
        until_held(&queue, 50).await;

        let refused = queue.run(ONE, || Ok(())).await.unwrap_err();

        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.message, "too many requests of this client are waiting");
        queue.close();
        for waiting in waiting {
            let error = waiting.await.unwrap().unwrap_err();
            assert_eq!(error, ApiError::shutting_down());
        }
    }

    #[tokio::test]
    async fn work_that_waits_too_long_is_an_error_with_a_time_to_retry() {
        let queue = FairQueue { max_wait: Duration::from_millis(20), ..queue() };
        let _held = queue.turn(ONE).await.unwrap();

        for client in [ONE, OTHER] {
            let error = queue.run(client, || Ok(())).await.unwrap_err();

            assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(error.retry_after.is_some());
        }
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_runs() {
        let queue = queue();

        let error = queue.run::<()>(ONE, || panic!("expected by the test")).await.unwrap_err();
        let next = queue.run(ONE, || Ok(7)).await;

        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(next, Ok(7));
    }
}
