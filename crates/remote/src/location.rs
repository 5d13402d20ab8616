//! The addresses of objects.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use url::Url;

use crate::environment::endpoint;
use crate::error::RemoteError;
use crate::name::check_name;

/// The address of objects: a prefix in a bucket of S3, or a path on a web server.
///
/// It has no user name, no password and no query, which are refused because an address is printed and recorded. Its
/// parts have been checked as the names of objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(crate) host: Host,
    /// The path, as parts that are not encoded.
    pub(crate) parts: Vec<String>,
    /// True if the text ended with a slash, so that the last part is not an object.
    pub(crate) is_folder: bool,
}

/// The place that has the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A bucket of S3.
    Bucket(String),
    /// A web server, as a URL with the path `/`.
    Server(Box<Url>),
}

/// The characters at the start of a digest that name a folder.
const DIGEST_CHARACTERS: usize = 32;

impl Location {
    /// Returns whether the location is on a web server, which cannot list its files.
    pub fn is_on_web_server(&self) -> bool {
        matches!(self.host, Host::Server(_))
    }

    /// The folder of the location and the name in it; `None` if the location is a whole bucket or server.
    pub fn split_name(&self) -> Option<(Self, &str)> {
        let (name, parts) = self.parts.split_last()?;
        Some((Self { host: self.host.clone(), parts: parts.to_vec(), is_folder: true }, name))
    }

    /// The location of the object `name` below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        let parts = self.parts.iter().cloned().chain(name.split('/').map(str::to_owned));
        Self { host: self.host.clone(), parts: parts.collect(), is_folder: false }
    }

    /// Checks that the location names a file rather than a folder.
    ///
    /// # Errors
    /// [`RemoteError::Folder`].
    pub fn check_is_file(&self) -> Result<(), RemoteError> {
        if self.is_folder || self.parts.is_empty() {
            return Err(RemoteError::Folder { location: self.to_string() });
        }
        Ok(())
    }

    /// A name for the folder that keeps objects of this location for `purpose`. Buckets of equal names at
    /// different endpoints, which AWS's environment variables name, have different folders.
    pub fn digest(&self, purpose: &str) -> String {
        let endpoint = match self.host {
            Host::Bucket(_) => endpoint().unwrap_or_default(),
            Host::Server(_) => String::new(),
        };
        let folder = if self.is_folder { "/" } else { "" };
        // No part of an address has a zero byte.
        let digest = Sha256::digest(format!("{purpose}\0{endpoint}\0{self}{folder}"));
        HEXLOWER.encode(&digest)[..DIGEST_CHARACTERS].to_owned()
    }

    fn bucket(rest: &str) -> Result<Self, RemoteError> {
        if rest.contains(['?', '#']) {
            return Err(RemoteError::Query);
        }
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err(RemoteError::UserInfo);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.chars().all(is_plain) {
            return Err(RemoteError::Bucket { bucket: bucket.to_owned() });
        }
        let (parts, is_folder) = parts(key, |part| Ok(part.to_owned()))?;
        Ok(Self { host: Host::Bucket(bucket.to_owned()), parts, is_folder })
    }

    fn server(text: &str) -> Result<Self, RemoteError> {
        // The parser of URLs would read these as slashes or leave them out.
        if text.contains(['\\', '\t', '\n', '\r']) {
            return Err(RemoteError::Url { reason: url::ParseError::InvalidDomainCharacter });
        }
        let url = Url::parse(text).map_err(|reason| RemoteError::Url { reason })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RemoteError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(RemoteError::Query);
        }
        // From the text itself, because a URL that is parsed has lost its `..`.
        let path = text.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let (parts, is_folder) = parts(path.map_or("", |(_, path)| path), decoded)?;
        let mut host = url;
        host.set_path("/");
        Ok(Self { host: Host::Server(Box::new(host)), parts, is_folder })
    }
}

/// The parts of a path, and whether it ends with a slash.
fn parts(
    path: &str,
    decode: impl Fn(&str) -> Result<String, RemoteError>,
) -> Result<(Vec<String>, bool), RemoteError> {
    let (path, is_folder) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, path.is_empty()),
    };
    if path.is_empty() {
        return Ok((Vec::new(), is_folder));
    }
    let parts: Vec<String> = path.split('/').map(decode).collect::<Result<_, _>>()?;
    let name = |reason| RemoteError::Name { name: parts.join("/"), reason };
    for part in &parts {
        // A decoded slash would be one more part.
        let reason =
            if part.contains('/') { Err("one part has a slash") } else { check_name(part) };
        reason.map_err(name)?;
    }
    check_name(&parts.join("/")).map_err(name)?;
    Ok((parts, is_folder))
}

/// The text of a percent-encoded part of a URL.
fn decoded(part: &str) -> Result<String, RemoteError> {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(part).collect();
    let reason = "it is not UTF-8";
    String::from_utf8(bytes).map_err(|_| RemoteError::Name { name: part.to_owned(), reason })
}

impl FromStr for Location {
    type Err = RemoteError;

    /// Parses `s3://bucket/prefix`, whose prefix is taken as it is, or an URL of `https` or `http`.
    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        let known = scheme.to_ascii_lowercase();
        match (known.as_str(), rest.strip_prefix("//")) {
            ("s3" | "https" | "http", None) => Err(RemoteError::Slashes { scheme: known }),
            ("https" | "http", Some(rest)) if rest.starts_with('/') => {
                Err(RemoteError::Slashes { scheme: known })
            }
            ("s3", Some(rest)) => Self::bucket(rest),
            ("https" | "http", Some(_)) => Self::server(text),
            _ => Err(RemoteError::Scheme { scheme: scheme.to_owned() }),
        }
    }
}

/// Without a slash at the end.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Bucket(bucket) => {
                write!(f, "s3://{bucket}")?;
                self.parts.iter().try_for_each(|part| write!(f, "/{part}"))
            }
            Host::Server(url) => {
                let mut url = Url::clone(url);
                if let Ok(mut path) = url.path_segments_mut() {
                    path.pop_if_empty().extend(&self.parts);
                }
                f.write_str(url.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_and_written_alike() {
        for (text, written, name, is_folder) in [
            ("s3://bucket", "s3://bucket", None, true),
            ("s3://bucket/", "s3://bucket", None, true),
            ("S3://bucket/a b/c%20d.txt", "s3://bucket/a b/c%20d.txt", Some("c%20d.txt"), false),
            ("s3://my-bucket.x_1/texts/", "s3://my-bucket.x_1/texts", Some("texts"), true),
            ("https://example.org", "https://example.org/", None, true),
            ("https://Example.org/a/b.txt", "https://example.org/a/b.txt", Some("b.txt"), false),
            ("http://[::1]:8000/a%20b", "http://[::1]:8000/a%20b", Some("a b"), false),
            ("https://example.org/%C3%A9", "https://example.org/%C3%A9", Some("é"), false),
        ] {
            let location: Location = text.parse().unwrap();

            assert_eq!(location.to_string(), written, "{text}");
            assert_eq!(location.split_name().map(|(_, name)| name), name, "{text}");
            assert_eq!(location.is_folder, is_folder, "{text}");
            assert_eq!(location.is_on_web_server(), text.starts_with("http"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_its_reason() {
        for (text, expected) in [
            (
                "gs://bucket/a",
                "`gs://` is not read; expected s3://BUCKET/PREFIX, https://… or http://…",
            ),
            (
                "file:///a",
                "`file://` is not read; expected s3://BUCKET/PREFIX, https://… or http://…",
            ),
            ("s3:/bucket/a", "`s3:` is not followed by two slashes and a name"),
            ("https:///example.org/a", "`https:` is not followed by two slashes and a name"),
            ("https://h\\a/b", "not a URL: invalid domain character"),
            ("https:example.org", "`https:` is not followed by two slashes and a name"),
            ("s3:///a", "`` is not the name of a bucket"),
            ("s3://b*/a", "`b*` is not the name of a bucket"),
            ("s3://../a", "`..` is not the name of a bucket"),
            ("https://", "not a URL: empty host"),
            ("https://h:99999/a", "not a URL: invalid port number"),
            ("https://h/a/../../b", "the name `a/../../b` is refused: one part is `..`"),
            ("https://h/a/%2e%2e/b", "the name `a/../b` is refused: one part is `..`"),
            ("https://h/a%2Fb", "the name `a/b` is refused: one part has a slash"),
            ("https://h//a", "the name `/a` is refused: one part is empty"),
            ("https://h/%FF", "the name `%FF` is refused: it is not UTF-8"),
            ("s3://b/a//c", "the name `a//c` is refused: one part is empty"),
            ("s3://b/./c", "the name `./c` is refused: one part is `.`"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn no_message_repeats_a_secret() {
        for text in [
            "s3://key:SECRET@bucket/a",
            "https://me:SECRET@example.org/a",
            "https://SECRET@example.org/a",
            "https://example.org/a?sig=SECRET",
            "https://example.org/a#SECRET",
            "s3://bucket/a?sig=SECRET",
            "s3:/key:SECRET@bucket/a",
            "https:me:SECRET@example.org",
            "gs://me:SECRET@bucket",
        ] {
            let error = text.parse::<Location>().unwrap_err();

            assert!(!error.to_string().contains("SECRET"), "{error}");
            assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
        }
    }

    #[test]
    fn a_digest_tells_purposes_and_locations_apart() {
        let digest = |text: &str, purpose| text.parse::<Location>().unwrap().digest(purpose);

        assert_eq!(digest("s3://b/a", "texts"), digest("S3://b/a", "texts"));
        assert_ne!(digest("s3://b/a", "texts"), digest("s3://b/a", "store"));
        assert_ne!(digest("s3://b/a", "texts"), digest("s3://b/a/", "texts"));
        assert_eq!(digest("s3://b/a", "texts").len(), DIGEST_CHARACTERS);
    }
}
