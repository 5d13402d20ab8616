//! API-key authentication, and the identity of each request's client.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::clients::{ClientId, forwarded};
use crate::config::Config;
use crate::error::ApiError;
use crate::state::AppState;

/// The address of the connection's other end. Handlers find it in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Requires an API key, if there are any, for every path except the page and `/health`. Notes the
/// [`ClientId`] in the request's extensions.
pub(crate) async fn check(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let keys = &state.config.api_keys;
    let key = keys.iter().enumerate().fold(None, |found, (at, key)| {
        // Without an early end, so that the time does not tell which key it is.
        if has_key(request.headers(), key) { Some(at) } else { found }
    });
    if !keys.is_empty() && key.is_none() && !is_public(request.uri().path()) {
        return ApiError::unauthorized().into_response();
    }
    let client = client(&state.config, &request, key);
    request.extensions_mut().insert(client);
    next.run(request).await
}

/// The client that asks with the key at index `key`.
fn client(config: &Config, request: &Request, key: Option<usize>) -> ClientId {
    if let Some(key) = key
        && config.api_keys.len() > 1
    {
        return ClientId::Key(key);
    }
    let named = forwarded(request.headers()).filter(|_| config.trust_forwarded_for);
    let peer = request.extensions().get::<Peer>().map(|&Peer(address)| address);
    ClientId::of_address(named.or(peer).unwrap_or(Ipv4Addr::LOCALHOST.into()))
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
