//! Passes of the model beside its generations: one at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::scope::Scope;

/// How long a request waits for the passes before it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that wait at most.
const WAITING: usize = 64;

/// Where work on the model that is no generation is done.
#[derive(Debug, Clone)]
pub(crate) struct Passes {
    /// One may wait or work for each.
    places: Arc<Semaphore>,
    /// One works.
    work: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Passes {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(WAITING + 1)),
            work: Arc::new(Semaphore::new(1)),
            patience: PATIENCE,
        }
    }
}

impl Passes {
    /// Does `work` when what came before is done.
    ///
    /// # Errors
    /// 429 if too many wait or it takes too long until then, 500 if it panics, and its own.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        scope: &Arc<Scope>,
        work: impl FnOnce(&Scope) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || ApiError::busy("too many requests are waiting", 1);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.work).acquire_owned());
        let turn = turn.await.map_err(|_| busy())?.expect("it is never closed");
        let scope = Arc::clone(scope);
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when its client has gone away.
            let _held = (place, turn);
            work(&scope)
        });
        done.await.unwrap_or_else(|_| Err(ApiError::failed()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::samples::scope;

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_come_back() {
        let passes = Passes { patience: Duration::from_millis(20), ..Passes::default() };
        let scope = Arc::new(scope());
        let _turn = Arc::clone(&passes.work).try_acquire_owned().unwrap();

        let error = passes.run(&scope, |_| Ok(())).await.unwrap_err();

        assert_eq!((error.status, error.retry_after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    }

    #[tokio::test]
    async fn no_more_wait_than_there_are_places() {
        let passes = Passes { places: Arc::new(Semaphore::new(0)), ..Passes::default() };

        let error = passes.run(&Arc::new(scope()), |_| Ok(())).await.unwrap_err();

        assert_eq!(error.status, StatusCode::TOO_MANY_REQUESTS);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_is_done() {
        let (passes, scope) = (Passes::default(), Arc::new(scope()));

        let error = passes.run::<()>(&scope, |_| panic!("a test's own")).await.unwrap_err();
        let next = passes.run(&scope, |scope| Ok(scope.name.clone())).await;

        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(next, Ok("tiny".to_owned()));
    }
}
