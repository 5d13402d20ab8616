use axum::Router;
use axum::routing::{get, post};

use super::{chat, completions, models};
use crate::state::AppState;

/// A model whose name contains slashes, which clients do not escape.
const MODEL_WITH_SLASHES: &str = "/v1/models/{id}/{*rest}";

/// The routes of OpenAI's interface.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one))
        .route(MODEL_WITH_SLASHES, get(models::one))
        .route("/v1/completions", post(completions::create))
        .route("/v1/chat/completions", post(chat::create))
}
