//! The request log: one line per request, once its response has been sent or its client has
//! disconnected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use web_time::Instant;

use crate::state::AppState;

/// Counts the tokens that a request generates. Handlers find it in the request's extensions.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenCounter(Arc<AtomicUsize>);

impl TokenCounter {
    /// Counts one token.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A line of the log, written when it is dropped. It contains neither prompts nor keys, and only the
/// path of the URL.
struct LogLine {
    method: Method,
    path: String,
    status: u16,
    started: Instant,
    counter: TokenCounter,
}

impl Drop for LogLine {
    fn drop(&mut self) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method = %self.method,
                    path = self.path,
                    status = self.status,
                    ms = self.started.elapsed().as_millis() as u64,
                    tokens = self.counter.0.load(Ordering::Relaxed),
                    "request"
                )
            };
        }
        // The page loads twenty of its own files, which say nothing about its use.
        if is_asset(&self.path) && self.status < 400 { line!(debug) } else { line!(info) }
    }
}

/// True for the files that the page loads.
fn is_asset(path: &str) -> bool {
    path.starts_with("/assets/") || path == "/favicon.ico"
}

/// Logs and counts each request.
pub(crate) async fn log(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let counter = TokenCounter::default();
    request.extensions_mut().insert(counter.clone());
    let mut line = LogLine {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        // nginx's status for a client that disconnects before it gets a response.
        status: 499,
        started: Instant::now(),
        counter,
    };
    let mut response = next.run(request).await;
    // The wrapped body below has no exact size, so hyper would not set the length.
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    line.status = response.status().as_u16();
    state.metrics.record_response(line.status);
    // The line is dropped together with the body.
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &line;
            frame
        }))
    })
}
