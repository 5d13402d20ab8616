use axum::Router;
use axum::routing::{get, put};

use super::{about, document, feature, labels, metrics};
use crate::state::AppState;

/// The routes.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/about", get(about::about))
        .route("/api/saes/{source}/features/{index}", get(feature::feature))
        .route("/api/saes/{source}/features/{index}/label", put(labels::put))
        .route("/api/labels", get(labels::search))
        .route("/openapi.json", get(document::document))
        .route("/metrics", get(metrics::metrics))
        .route("/health", get(health))
}

/// Says that the process is up; needs no key.
async fn health() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({"status": "ok"}))
}
