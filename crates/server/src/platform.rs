//! Threads and timers, which a browser's worker does not have.

use std::time::Duration;

use crate::error::ApiError;

/// Runs slow work on a thread where it blocks no other request. In a browser there is one thread and one
/// client, who waits for it anyway, after the work that was begun before.
///
/// # Errors
/// 500 if `work` panics.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    #[cfg(not(target_arch = "wasm32"))]
    return tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal());
    #[cfg(target_arch = "wasm32")]
    return {
        let _turn = turn().await;
        Ok(work())
    };
}

/// Waits until no other work is done with the model. In a browser, work that reads a GPU is suspended meanwhile, so
/// that another piece could begin in the middle of it.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// Waits for `future`; `None` if it takes longer than `limit`. In a browser there is no limit: the page is the
/// only client, and ends a request by itself.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    #[cfg(not(target_arch = "wasm32"))]
    return tokio::time::timeout(limit, future).await.ok();
    #[cfg(target_arch = "wasm32")]
    return {
        let _ = limit;
        Some(future.await)
    };
}
