use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

use crate::LabelError;

/// The path of the requests below the address that a user gives.
const PATH: &str = "/chat/completions";

/// The address of an OpenAI-compatible API, such as `http://localhost:8080/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address of the requests.
    url: String,
    host: String,
    is_encrypted: bool,
}

impl Endpoint {
    /// Reads an address, with or without `/chat/completions` at its end.
    ///
    /// # Errors
    /// [`LabelError::Url`] if it is not one of `http` or `https`, or has a user name or a query in it.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let base = text.trim().trim_end_matches('/');
        let base = base.strip_suffix(PATH).unwrap_or(base).trim_end_matches('/');
        let shown = base.rsplit_once('@').map_or(base, |(_, host)| host);
        let wrong = |reason| LabelError::Url { url: shown.to_owned(), reason };
        let uri: Uri = base.parse().map_err(|_| wrong("it is not a URL"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("it has a password, which belongs in an environment variable"));
        }
        let is_encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it does not begin with http:// or https://")),
        };
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("it has no host"))?.to_owned();
        Ok(Self { url: format!("{base}{PATH}"), host, is_encrypted })
    }

    /// The address of the requests.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns whether the endpoint is on this machine.
    pub fn is_local(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Returns whether others on the way can read what is sent.
    pub fn is_readable_on_the_way(&self) -> bool {
        !self.is_encrypted && !self.is_local()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_and_without_the_path_of_the_requests() {
        for text in [
            "http://localhost:8080/v1",
            "http://localhost:8080/v1/",
            " http://localhost:8080/v1/chat/completions ",
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.url(), "http://localhost:8080/v1/chat/completions", "{text}");
        }
        let bare = Endpoint::parse("https://api.example.com").unwrap();
        assert_eq!(bare.url(), "https://api.example.com/chat/completions");
    }

    #[test]
    fn what_is_not_an_address_is_refused_without_its_password() {
        for (text, says) in [
            ("", "not a URL"),
            ("localhost:8080", "http://"),
            ("ftp://localhost/v1", "http://"),
            ("http://", "http://"),
            ("https://me:sec ret@host/v1", "not a URL"),
            ("http://host/v1?key=1", "query"),
            ("https://me:secret@host/v1", "password"),
            ("http://a b/", "not a URL"),
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("sec"), "{text}: {error}");
        }
    }

    #[test]
    fn an_endpoint_of_this_machine_is_local() {
        for (text, local, readable) in [
            ("http://localhost/v1", true, false),
            ("http://127.0.0.1:1/v1", true, false),
            ("http://[::1]:1/v1", true, false),
            ("http://192.168.0.2/v1", false, true),
            ("http://localhost.example.com/v1", false, true),
            ("https://api.example.com/v1", false, false),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(
                (endpoint.is_local(), endpoint.is_readable_on_the_way()),
                (local, readable),
                "{text}"
            );
        }
    }
}
