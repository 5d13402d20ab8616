use axum::Router;
use axum::routing::{get, post, put};

use super::{about, attribute, document, feature, features, labels, metrics};
use crate::state::AppState;

/// The routes of nanoscope's own interface.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/about", get(about::about))
        .route("/api/attribute", post(attribute::attribute))
        .route("/api/saes/{source}/features/{index}", get(feature::feature))
        .route("/api/saes/{source}/features/{index}/label", put(labels::put))
        .route("/api/saes/{source}/labels", get(labels::download))
        .route("/api/features", get(features::search))
        .route("/api/labels", get(labels::search))
        .route("/openapi.json", get(document::document))
        .route("/metrics", get(metrics::metrics))
        .route("/health", get(health))
}

/// `GET /health`, which needs no key and answers as long as the process runs.
async fn health() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({"status": "ok"}))
}
