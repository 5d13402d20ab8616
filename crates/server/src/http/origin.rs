//! Rejects cross-origin and DNS-rebinding requests.
//!
//! Any page that is open in a browser on this machine can send requests to the server. Requests that
//! the browser marks with a foreign origin are rejected, and so are requests for a host name that is
//! not this machine's: a page can make its own name point to this machine (DNS rebinding), and would
//! then have the same origin as the server.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// The host names for which the server accepts requests.
#[derive(Debug, Clone)]
pub(crate) struct AllowedHosts {
    /// True if every name is accepted, because other machines have their own names for this one.
    /// Otherwise only loopback names and `public` are.
    any: bool,
    /// Names of a reverse proxy, with the port if the browser shows one.
    public: Arc<[String]>,
}

impl AllowedHosts {
    /// The names for a server that listens on `address` behind the proxy names `public`.
    pub(crate) fn for_address(address: IpAddr, public: &[String]) -> Self {
        Self { any: !address.to_canonical().is_loopback(), public: public.into() }
    }

    /// Returns whether a request may be for `host`. The port of a public name is ignored, because a
    /// proxy may use any.
    fn allows_host(&self, host: &str) -> bool {
        let is = |public: &String| match (host_name(public), host_name(host)) {
            (Some(public), Some(host)) => public.eq_ignore_ascii_case(&host),
            _ => false,
        };
        self.any || is_loopback(host) || self.public.iter().any(is)
    }

    /// Returns whether a page from `origin` may send requests to `host`.
    fn allows_origin(&self, origin: &str, host: &str) -> bool {
        origin.eq_ignore_ascii_case(host)
            || self.public.iter().any(|public| public.eq_ignore_ascii_case(origin))
    }
}

/// Rejects requests with a foreign host or origin.
pub(crate) async fn check(
    State(hosts): State<AllowedHosts>,
    request: Request,
    next: Next,
) -> Response {
    let uri = request.uri();
    match rejection(&hosts, request.version(), uri, request.headers()) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

fn rejection(
    hosts: &AllowedHosts,
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<ApiError> {
    let mut values = headers.get_all(HOST).iter();
    let host = match (values.next(), values.next()) {
        (Some(_), Some(_)) => {
            return Some(ApiError::bad_request("there is more than one Host header"));
        }
        (Some(host), None) => match host.to_str() {
            Ok(host) => Some(host),
            Err(_) => return Some(ApiError::bad_request("the Host header is not text")),
        },
        // HTTP/1.0 has no Host header. Browsers, which DNS rebinding needs, do not speak it.
        (None, _) if version < Version::HTTP_11 => None,
        (None, _) => return Some(ApiError::bad_request("the Host header is missing")),
    };
    // A request to a proxy has the host in the URI, where it goes before the header.
    let asked = uri.authority().map(Authority::as_str);
    if !host.into_iter().chain(asked).all(|host| hosts.allows_host(host)) {
        return Some(ApiError::forbidden(
            "the Host header is not localhost, a loopback address or a public name of this server",
        ));
    }
    let host = asked.or(host).unwrap_or_default();
    let refused = || ApiError::forbidden("cross-origin requests are not allowed");
    // A browser sends no origin with an image or a script of another site, but says where it comes from.
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    if says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate") {
        return Some(refused());
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next()?;
    if origins.next().is_some() {
        return Some(refused());
    }
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let allowed = origin.is_some_and(|(_, authority)| hosts.allows_origin(authority, host));
    (!allowed).then(refused)
}

/// Returns whether `authority`, a host with or without a port, is a loopback name or address.
fn is_loopback(authority: &str) -> bool {
    let Some(host) = host_name(authority) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The host in `authority`, without the port.
fn host_name(authority: &str) -> Option<String> {
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
        rejection(names, Version::HTTP_11, &Uri::from_static("/"), &headers).is_none()
    }

    #[test]
    fn on_loopback_only_its_own_names_are_accepted() {
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
    fn there_is_one_host_header_except_in_http_1_0() {
        let status = |version, uri: &'static str, hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            let rejected = rejection(&loopback(), version, &Uri::from_static(uri), &headers);
            rejected.map_or(200, |error| error.status.as_u16())
        };

        for (version, uri, hosts, expected) in [
            (Version::HTTP_11, "/", &["localhost"][..], 200),
            (Version::HTTP_11, "/", &[], 400),
            (Version::HTTP_11, "/", &["localhost", "localhost"], 400),
            (Version::HTTP_11, "/", &["localhost", "evil.example"], 400),
            (Version::HTTP_10, "/", &[], 200),
            (Version::HTTP_10, "/", &["localhost"], 200),
            (Version::HTTP_10, "/", &["localhost", "localhost"], 400),
            (Version::HTTP_10, "/", &["evil.example"], 403),
            (Version::HTTP_11, "http://localhost/", &["localhost"], 200),
            (Version::HTTP_11, "http://evil.example/", &["localhost"], 403),
            (Version::HTTP_10, "http://evil.example/", &[], 403),
        ] {
            assert_eq!(status(version, uri, hosts), expected, "{version:?} {uri} {hosts:?}");
        }
    }

    #[test]
    fn a_page_may_send_requests_only_to_its_own_origin() {
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
    fn a_request_that_another_site_causes_is_refused_unless_it_opens_the_page() {
        let passes = |more: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("host", "localhost:8765")].iter().chain(more) {
                headers.append(*name, value.parse().unwrap());
            }
            rejection(&loopback(), Version::HTTP_11, &Uri::from_static("/"), &headers).is_none()
        };
        let site = |site| ("sec-fetch-site", site);
        let mode = |mode| ("sec-fetch-mode", mode);

        assert!(passes(&[site("same-origin"), mode("cors")]));
        assert!(passes(&[site("cross-site"), mode("navigate")]));
        assert!(!passes(&[site("cross-site"), mode("no-cors")]));
        assert!(!passes(&[site("cross-site")]));
        let own = ("origin", "http://localhost:8765");
        assert!(passes(&[own]));
        assert!(!passes(&[own, ("origin", "http://evil.example")]));
    }

    #[test]
    fn a_page_behind_a_proxy_may_send_requests_to_the_public_name() {
        let names = names("127.0.0.1", &["lab.example", "lab.example:8443"]);
        let passes = |host, origin| passes(&names, Some(host), Some(origin));

        // A proxy sends either the public name or its own upstream address as Host.
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
    fn an_ipv4_mapped_ipv6_address_counts_as_the_ipv4_address() {
        assert!(!passes(&names("::ffff:127.0.0.1", &[]), Some("evil.example"), None));
        assert!(passes(&names("::ffff:10.0.0.1", &[]), Some("lab.example"), None));
    }
}
