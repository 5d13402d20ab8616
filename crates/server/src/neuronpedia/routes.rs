use axum::Router;
use axum::routing::{get, post};

use super::{activation, all, meta, steer, steer_chat};
use crate::state::AppState;

/// The routes of Neuronpedia's interface.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/activation/all", post(all::all))
        .route("/v1/activation/all-batch", post(all::all_batch))
        .route("/v1/activation/single", post(activation::single))
        .route("/v1/activation/single-batch", post(activation::single_batch))
        .route("/v1/activation/topk-by-token", post(activation::top_k))
        .route("/v1/activation/topk-by-token-batch", post(activation::top_k_batch))
        .route("/v1/activation/source", post(activation::source))
        .route("/v1/steer/completion", post(steer::completion))
        .route("/v1/steer/completion-chat", post(steer_chat::completion_chat))
        .route("/v1/tokenize", post(meta::tokenize))
        .route("/v1/capabilities", get(meta::capabilities))
}
