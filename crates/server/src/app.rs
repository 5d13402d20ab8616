//! Which path is answered by whom.

use axum::Router;

use crate::state::AppState;

/// All routes.
pub(crate) fn app(state: AppState) -> Router {
    Router::new().with_state(state)
}
