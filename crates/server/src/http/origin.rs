//! What a page of somebody else's, open in a browser on this machine, cannot do.
//!
//! Such a page can send requests here. Those that a browser marks with another origin are refused,
//! and so are those to a name that is not this machine's: a page can have a name of its own point
//! here (DNS rebinding), and would then be of our origin.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// Which names of this machine are answered to.
#[derive(Debug, Clone)]
pub(crate) struct AllowedHosts {
    /// All: others have their own names for it. Else those that only this machine knows itself by.
    any: bool,
    /// Those that a proxy before it has, with the port if a browser shows one.
    public: Arc<[String]>,
}

impl AllowedHosts {
    /// Those that a server that listens on `address` answers to, and the `public` ones.
    pub(crate) fn for_address(address: IpAddr, public: &[String]) -> Self {
        Self { any: !address.to_canonical().is_loopback(), public: public.into() }
    }

    /// Whether a request may be for `host`. A proxy may have put any port behind a public name.
    fn allows_host(&self, host: &str) -> bool {
        let is = |public: &String| match (name(public), name(host)) {
            (Some(public), Some(host)) => public.eq_ignore_ascii_case(&host),
            _ => false,
        };
        self.any || is_loopback(host) || self.public.iter().any(is)
    }

    /// Whether a page that came from `origin` may ask `host`.
    fn allows_origin(&self, origin: &str, host: &str) -> bool {
        origin.eq_ignore_ascii_case(host)
            || self.public.iter().any(|public| public.eq_ignore_ascii_case(origin))
    }
}

pub(crate) async fn check(
    State(names): State<AllowedHosts>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(&names, request.headers()) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(names: &AllowedHosts, headers: &HeaderMap) -> Option<ApiError> {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return Some(ApiError::bad_request("the header Host is missing"));
    };
    if !names.allows_host(host) {
        return Some(ApiError::forbidden(
            "this server answers to localhost, loopback addresses and its public names only; the \
             header Host names another",
        ));
    }
    let origin = headers.get(ORIGIN)?;
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let ours = origin.is_some_and(|(_, authority)| names.allows_origin(authority, host));
    (!ours).then(|| ApiError::forbidden("a page of another origin may not ask here"))
}

/// Whether `authority`, a name with or without a port, is this machine for itself alone.
fn is_loopback(authority: &str) -> bool {
    let Some(host) = name(authority) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The name in `authority`, without the port.
fn name(authority: &str) -> Option<String> {
    authority.parse::<Uri>().ok()?.host().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(address: &str, public: &[&str]) -> AllowedHosts {
        let public: Vec<String> = public.iter().map(|&name| name.to_owned()).collect();
        AllowedHosts::for_address(address.parse().unwrap(), &public)
    }

    fn loopback() -> AllowedHosts {
        names("127.0.0.1", &[])
    }

    fn any() -> AllowedHosts {
        names("0.0.0.0", &[])
    }

    fn passes(names: &AllowedHosts, host: Option<&str>, origin: Option<&str>) -> bool {
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
        let on_loopback = |host| passes(&loopback(), host, None);

        for host in [
            "localhost",
            "LOCALHOST:8765",
            "127.0.0.1:8765",
            "127.3.2.1",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
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
        assert!(passes(&any(), Some("lab.example"), None));
    }

    #[test]
    fn a_page_may_ask_where_it_came_from_only() {
        let from = |origin| passes(&loopback(), Some("localhost:8765"), Some(origin));

        assert!(from("http://localhost:8765"));
        assert!(from("https://LOCALHOST:8765"));
        for origin in ["http://localhost:3000", "http://evil.example", "null", "localhost:8765"] {
            assert!(!from(origin), "{origin}");
        }
        let elsewhere = passes(&any(), Some("lab.example"), Some("http://evil.example"));
        assert!(!elsewhere);
    }

    #[test]
    fn a_page_behind_a_proxy_may_ask_by_the_public_name() {
        let names = names("127.0.0.1", &["lab.example", "lab.example:8443"]);
        let passes = |host, origin| passes(&names, Some(host), Some(origin));

        // The proxy says whom it was asked for, or whom it asks.
        for host in ["lab.example", "LAB.example:443", "127.0.0.1:8765"] {
            for origin in ["https://lab.example", "https://Lab.example:8443"] {
                assert!(passes(host, origin), "{host} {origin}");
            }
            for origin in ["https://lab.example:3000", "https://evil.example", "null"] {
                assert!(!passes(host, origin), "{host} {origin}");
            }
        }
        assert!(!passes("evil.example", "https://lab.example"));
        assert!(!passes("lab.example.evil.example", "https://lab.example"));
    }

    #[test]
    fn an_address_of_version_4_in_one_of_version_6_is_what_it_is_in_it() {
        assert!(!passes(&names("::ffff:127.0.0.1", &[]), Some("evil.example"), None));
        assert!(passes(&names("::ffff:10.0.0.1", &[]), Some("lab.example"), None));
    }
}
