//! The router.

use std::any::Any;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::clients;
use crate::error::ApiError;
use crate::http::origin::AllowedHosts;
use crate::http::{auth, headers, log, origin};
use crate::state::AppState;
use crate::{api, neuronpedia, openai, page};

/// All routes, behind the middleware that applies to every request.
pub(crate) fn app(state: AppState, hosts: AllowedHosts) -> Router {
    Router::new()
        .merge(openai::routes())
        .merge(neuronpedia::routes())
        .merge(api::routes())
        .merge(page::routes())
        .fallback(|| async { ApiError::not_found("unknown path") })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(from_fn_with_state(state.clone(), clients::hold))
        .layer(from_fn_with_state(state.clone(), auth::check))
        .layer(from_fn_with_state(hosts, origin::check))
        .layer(CatchPanicLayer::custom(handle_panic))
        .layer(from_fn(headers::add))
        .layer(from_fn_with_state(state.clone(), log::log))
        .with_state(state)
}

/// Answers 500 without the panic's message, which is on stderr and not for clients.
fn handle_panic(_: Box<dyn Any + Send>) -> Response {
    ApiError::internal().into_response()
}
