//! Our own small interface: what is served, what is known of a feature, labels.

mod about;
mod document;
mod feature;
mod labels;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::{get, put};
use nanoscope_hooks::HookPoint;

use crate::error::ApiError;
use crate::served_model::Scope;
use crate::state::AppState;

/// The routes.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/about", get(about::about))
        .route("/api/saes/{source}/features/{index}", get(feature::feature))
        .route("/api/saes/{source}/features/{index}/label", put(labels::put))
        .route("/api/labels", get(labels::search))
        .route("/openapi.json", get(document::document))
        .route("/health", get(health))
}

/// Says that the process is up; needs no key.
async fn health() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({"status": "ok"}))
}

/// The feature that a path names.
fn find(scope: &Scope, (source, index): (&str, &str)) -> Result<(HookPoint, u32), ApiError> {
    let hook = scope.source(source);
    let hook = hook.ok_or_else(|| ApiError::not_found("there is no such source"))?;
    let d_sae = scope.model.saes()[&hook].config().d_sae();
    let index = index.parse().ok().filter(|&index: &u32| (index as usize) < d_sae);
    let without = || {
        let id = Scope::source_id(hook);
        ApiError::not_found(format!("{id} has no such feature, it has 0 to {}", d_sae - 1))
    };
    Ok((hook, index.ok_or_else(without)?))
}
