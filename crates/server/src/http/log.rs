//! A line for each request, when its answer has gone out or its client away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;

use crate::state::AppState;

/// The tokens that a request generated; in the extensions of every request.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenCounter(Arc<AtomicUsize>);

impl TokenCounter {
    /// Counts a token.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the line says. Neither prompts nor keys are part of it: of the address only the path is.
struct Line {
    method: Method,
    path: String,
    status: u16,
    began: Instant,
    counter: TokenCounter,
}

impl Drop for Line {
    fn drop(&mut self) {
        tracing::info!(
            method = %self.method,
            path = self.path,
            status = self.status,
            ms = self.began.elapsed().as_millis() as u64,
            tokens = self.counter.0.load(Ordering::Relaxed),
            "request"
        );
    }
}

pub(crate) async fn log(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let counter = TokenCounter::default();
    request.extensions_mut().insert(counter.clone());
    let mut line = Line {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        // As nginx says it: the client went away before there was an answer.
        status: 499,
        began: Instant::now(),
        counter,
    };
    let mut response = next.run(request).await;
    // A body that is looked through has no length of its own any more.
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    line.status = response.status().as_u16();
    state.metrics.record_response(line.status);
    // The line lives as long as the body does.
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &line;
            frame
        }))
    })
}
