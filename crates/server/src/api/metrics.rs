use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::state::AppState;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`, in the text format that Prometheus reads.
pub(crate) async fn metrics(state: AppState) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], state.metrics.encode(&state.ledger))
}
