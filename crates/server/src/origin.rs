//! What a page of somebody else's, open in a browser on this machine, cannot do.
//!
//! Such a page can send requests here. Those that a browser marks with another origin are refused,
//! and so are those to a name that is not this machine's: a page can have a name of its own point
//! here (DNS rebinding), and would then be of our origin.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// Which names of this machine are answered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Those that only this machine knows itself by.
    Loopback,
    /// All: others have their own names for it.
    Any,
}

impl Names {
    /// Those that a server that listens on `address` answers to.
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_loopback() { Self::Loopback } else { Self::Any }
    }
}

pub(crate) async fn check(State(names): State<Names>, request: Request, next: Next) -> Response {
    match refusal(names, request.headers()) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(names: Names, headers: &HeaderMap) -> Option<ApiError> {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return Some(ApiError::bad("the header Host is missing"));
    };
    if names == Names::Loopback && !is_loopback(host) {
        return Some(ApiError::forbidden(
            "this server answers to localhost and loopback addresses only; the header Host names \
             another",
        ));
    }
    let origin = headers.get(ORIGIN)?;
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let ours = origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    (!ours).then(|| ApiError::forbidden("a page of another origin may not ask here"))
}

/// Whether `authority`, a name with or without a port, is this machine for itself alone.
fn is_loopback(authority: &str) -> bool {
    let Ok(uri) = authority.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(names: Names, host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        refusal(names, &headers).is_none()
    }

    #[test]
    fn on_loopback_only_its_own_names_are_answered_to() {
        let on_loopback = |host| passes(Names::Loopback, host, None);

        for host in ["localhost", "LOCALHOST:8765", "127.0.0.1:8765", "127.3.2.1", "[::1]:80"] {
            assert!(on_loopback(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8765",
            "127.0.0.1.evil.example",
            "192.168.0.2:8765",
            "user@localhost@evil.example",
            "[::2]",
            "",
        ] {
            assert!(!on_loopback(Some(host)), "{host}");
        }
        assert!(!on_loopback(None));
        assert!(passes(Names::Any, Some("lab.example"), None));
    }

    #[test]
    fn a_page_may_ask_where_it_came_from_only() {
        let from = |origin| passes(Names::Loopback, Some("localhost:8765"), Some(origin));

        assert!(from("http://localhost:8765"));
        assert!(from("https://LOCALHOST:8765"));
        for origin in ["http://localhost:3000", "http://evil.example", "null", "localhost:8765"] {
            assert!(!from(origin), "{origin}");
        }
        let elsewhere = passes(Names::Any, Some("lab.example"), Some("http://evil.example"));
        assert!(!elsewhere);
    }
}
