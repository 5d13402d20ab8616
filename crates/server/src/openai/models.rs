//! `/v1/models`: the one model of this server.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::state::AppState;

/// `GET /v1/models`
pub(crate) async fn list(state: AppState) -> Json<Value> {
    Json(json!({"object": "list", "data": [entry(&state)]}))
}

/// `GET /v1/models/{id}`
pub(crate) async fn one(
    state: AppState,
    path: Result<Path<Vec<(String, String)>>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(parts) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
    check(&state, &parts.join("/"))?;
    Ok(Json(entry(&state)))
}

/// Checks that `id` refers to the served model.
///
/// # Errors
/// 404 if it does not.
pub(crate) fn check(state: &AppState, id: &str) -> Result<(), ApiError> {
    if state.served.is_called(id) {
        return Ok(());
    }
    let name = &state.served.name;
    let message = format!("the model `{id}` does not exist; this server serves `{name}`");
    Err(ApiError::not_found(message).with_param("model").with_code("model_not_found"))
}

fn entry(state: &AppState) -> Value {
    json!({
        "id": state.served.name,
        "object": "model",
        "created": state.started_at,
        "owned_by": "nanoscope",
    })
}
