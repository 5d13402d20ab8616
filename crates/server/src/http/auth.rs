//! API-key authentication.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::error::ApiError;
use crate::state::AppState;

/// Requires the API key, if one is configured, for every path except the page and `/health`.
pub(crate) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(key) = &state.config.api_key else {
        return next.run(request).await;
    };
    if is_public(request.uri().path()) || has_key(request.headers(), key) {
        next.run(request).await
    } else {
        ApiError::unauthorized().into_response()
    }
}

fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/favicon.ico") || path.starts_with("/assets/")
}

/// Returns whether `Authorization` or `x-secret-key` carries `key`. The running time depends only on
/// the length of the received key.
fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let bearer = headers.get(AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
    let bearer = bearer.and_then(|value| {
        let (scheme, rest) = value.split_at_checked(b"bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
    });
    let secret = headers.get("x-secret-key").map(axum::http::HeaderValue::as_bytes);
    let same = |given: &[u8]| bool::from(given.ct_eq(key.as_bytes()));
    bearer.is_some_and(same) || secret.is_some_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        has_key(&headers, "sesame")
    }

    #[test]
    fn only_the_complete_key_is_accepted_in_either_header() {
        assert!(accepts("authorization", "Bearer sesame"));
        assert!(accepts("authorization", "bearer  sesame"));
        assert!(accepts("x-secret-key", "sesame"));
        for wrong in ["Bearer sesam", "Bearer sesame2", "Bearer ", "sesame", "Basic sesame", "B"] {
            assert!(!accepts("authorization", wrong), "{wrong}");
        }
        assert!(!accepts("x-secret-key", "Bearer sesame"));
        assert!(!accepts("cookie", "sesame"));
    }
}
