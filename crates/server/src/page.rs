//! The page and what it loads, all of it in the binary.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use crate::state::AppState;

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/", get(|| async { Html(include_str!("../page/index.html")) }))
}
