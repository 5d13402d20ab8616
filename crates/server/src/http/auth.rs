//! Who may ask.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::error::ApiError;
use crate::state::AppState;

/// Lets through who has the key, if there is one; the page and `/health` need none.
pub(crate) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(key) = &state.config.api_key else {
        return next.run(request).await;
    };
    if is_public(request.uri().path()) || has(request.headers(), key) {
        next.run(request).await
    } else {
        ApiError::unauthorized().into_response()
    }
}

fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/favicon.ico") || path.starts_with("/assets/")
}

/// Whether one of the headers that a key comes in has `key`. How long it takes depends on the
/// length of the given one only.
fn has(headers: &HeaderMap, key: &str) -> bool {
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

    fn let_in(name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        has(&headers, "sesame")
    }

    #[test]
    fn only_the_whole_key_opens_in_either_header() {
        assert!(let_in("authorization", "Bearer sesame"));
        assert!(let_in("authorization", "bearer  sesame"));
        assert!(let_in("x-secret-key", "sesame"));
        for wrong in ["Bearer sesam", "Bearer sesame2", "Bearer ", "sesame", "Basic sesame", "B"] {
            assert!(!let_in("authorization", wrong), "{wrong}");
        }
        assert!(!let_in("x-secret-key", "Bearer sesame"));
        assert!(!let_in("cookie", "sesame"));
    }
}
