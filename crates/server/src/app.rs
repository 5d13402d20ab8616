//! Which path is answered by whom.

use std::any::Any;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::error::ApiError;
use crate::http::origin::AllowedHosts;
use crate::http::{auth, headers, log, origin};
use crate::state::AppState;
use crate::{api, neuronpedia, openai, page};

/// All routes, behind everything that every request goes through.
pub(crate) fn app(state: AppState, names: AllowedHosts) -> Router {
    Router::new()
        .merge(openai::routes())
        .merge(neuronpedia::routes())
        .merge(api::routes())
        .merge(page::routes())
        .fallback(|| async { ApiError::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(from_fn_with_state(state.clone(), auth::check))
        .layer(from_fn_with_state(names, origin::check))
        .layer(CatchPanicLayer::custom(failed))
        .layer(from_fn(headers::add))
        .layer(from_fn_with_state(state.clone(), log::log))
        .with_state(state)
}

/// The panic's own text went to standard error and is nothing for clients.
fn failed(_: Box<dyn Any + Send>) -> Response {
    ApiError::internal().into_response()
}
