//! The errors of this crate.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use object_store::client::{HttpError, HttpErrorKind};

/// The reason that objects could not be found or downloaded.
///
/// No message has a user name, a password or the query of a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// An address of a kind that is not read.
    #[error("`{scheme}://` is not read; expected s3://BUCKET/PREFIX, https://… or http://…")]
    Scheme {
        /// The text before the colon.
        scheme: String,
    },
    /// An address such as `s3:/bucket`.
    #[error("`{scheme}:` is not followed by two slashes and a name")]
    Slashes {
        /// The text before the colon.
        scheme: String,
    },
    /// A user name or a password in an address.
    #[error(
        "a user name or a password in a URL is not read, because URLs are printed and recorded"
    )]
    UserInfo,
    /// A query or a fragment in an address.
    #[error(
        "a query (`?…`) or a fragment (`#…`) in a URL is not read, because URLs are printed and recorded"
    )]
    Query,
    /// A text that cannot be the name of a bucket.
    #[error("`{bucket}` is not the name of a bucket")]
    Bucket {
        /// The text.
        bucket: String,
    },
    /// A text that is not a URL.
    #[error("not a URL: {reason}")]
    Url {
        /// The reason.
        reason: url::ParseError,
    },
    /// A folder of a web server.
    #[error("{location} is a folder, and a web server cannot list one; expected the URL of a file")]
    Folder {
        /// The folder.
        location: String,
    },
    /// A name that cannot be the path of a file.
    #[error("the name `{name}` is refused: {reason}")]
    Name {
        /// The name.
        name: String,
        /// The reason.
        reason: &'static str,
    },
    /// Two names that no folder can hold together.
    #[error("the names `{first}` and `{second}` cannot both be files of one folder")]
    Collision {
        /// The one name.
        first: String,
        /// The other name.
        second: String,
    },
    /// More objects than are held in memory.
    #[error("{location} has more than {most} objects to download")]
    TooMany {
        /// The place that was listed.
        location: String,
        /// The limit.
        most: usize,
    },
    /// A location with nothing to download.
    #[error("{location} has nothing to read: {}", objects(*.others))]
    Empty {
        /// The place that was listed.
        location: String,
        /// The number of objects that are something else.
        others: usize,
    },
    /// Credentials that are not set, or that the machine does not have.
    #[error("there are no credentials for {location}")]
    NoCredentials {
        /// The place.
        location: String,
        /// The failure of the last source of credentials that was tried.
        source: Cause,
    },
    /// Credentials or a user without the right to read.
    #[error("access to {location} is denied")]
    Denied {
        /// The place.
        location: String,
        /// The server's answer.
        source: Cause,
    },
    /// An object, a prefix or a bucket that does not exist.
    #[error("{location} does not exist")]
    NotFound {
        /// The place.
        location: String,
        /// The server's answer.
        source: Cause,
    },
    /// A server that cannot be connected to.
    #[error("could not connect to the server of {location}")]
    Unreachable {
        /// The place.
        location: String,
        /// The reason.
        source: Cause,
    },
    /// A server that does not answer in time.
    #[error("the server of {location} did not answer in time")]
    TimedOut {
        /// The place.
        location: String,
        /// The reason.
        source: Cause,
    },
    /// A bucket in another region than the one that was asked.
    #[error("{location} is in another region than the one that AWS_REGION names")]
    Region {
        /// The place.
        location: String,
        /// The server's answer.
        source: Cause,
    },
    /// An endpoint without encryption that was not allowed.
    #[error("the endpoint of {location} is http:// and not https://")]
    Unencrypted {
        /// The place.
        location: String,
    },
    /// Settings that no connection can be made with.
    #[error("no connection to {location} can be made with these settings")]
    Settings {
        /// The place.
        location: String,
        /// The reason.
        source: Cause,
    },
    /// Another failure of a request.
    #[error("could not read {location}")]
    Request {
        /// The place.
        location: String,
        /// The reason.
        source: Cause,
    },
    /// A page in place of a file.
    #[error("{location} is a web page (text/html), not a file of another kind")]
    WebPage {
        /// The place.
        location: String,
    },
    /// An object that is not what it was when it was found.
    #[error("{location} changed while it was downloaded: it had {expected} bytes, then {found}")]
    Changed {
        /// The object.
        location: String,
        /// The bytes that were announced.
        expected: u64,
        /// The bytes that arrived, or were announced then.
        found: u64,
    },
    /// A disk without room for the objects.
    #[error("{} has room for {free} bytes, and {needed} are to be downloaded", .path.display())]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// The bytes to download.
        needed: u64,
        /// The free bytes.
        free: u64,
    },
    /// A file or a folder of the mirror that cannot be read or written.
    #[error("could not use {}", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The caller stopped the work.
    #[error("interrupted")]
    Interrupted,
}

/// The innermost reason of a failed request: the answer of the server, or the error of the connection.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    text: String,
}

/// The longest reason, in characters; it may be a page of a server.
const MAX_CAUSE: usize = 300;

impl RemoteError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// The fault that a failed request to `location` shows. `has_credentials` is false if none are in the
    /// environment, so that the machine was asked for them.
    pub(crate) fn request(
        location: String,
        error: &object_store::Error,
        has_credentials: bool,
    ) -> Self {
        use object_store::Error as Store;

        let source = Cause::of(error);
        let is_bucket = location.starts_with("s3://");
        match error {
            Store::NotFound { .. } => return Self::NotFound { location, source },
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
                return Self::Denied { location, source };
            }
            // The name of an object that no path can have; the message names it.
            Store::InvalidPath { source } => {
                let reason = "it is not the path of a file";
                return Self::Name { name: invalid_path(source), reason };
            }
            _ => {}
        }
        if source.text.contains("redirect") && is_bucket {
            return Self::Region { location, source };
        }
        let status = chain(error).last().and_then(|last| status(&last.to_string()));
        if is_bucket && !has_credentials && (status.is_none() || is_about_the_machine(error)) {
            return Self::NoCredentials { location, source };
        }
        match status {
            Some(404) => return Self::NotFound { location, source },
            Some(401 | 403) => return Self::Denied { location, source },
            _ => {}
        }
        match http_kind(error) {
            Some(HttpErrorKind::Connect) => Self::Unreachable { location, source },
            Some(HttpErrorKind::Timeout) => Self::TimedOut { location, source },
            _ => Self::Request { location, source },
        }
    }
}

impl Cause {
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let last = chain(error).last().map(ToString::to_string).unwrap_or_default();
        Self { text: shortened(&last) }
    }
}

/// The answer of S3 as its code and message, or the start of any other.
fn shortened(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
    };
    let status = text.split_once("status code: ").and_then(|(_, rest)| rest.split_once(": "));
    let text = match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("the server answered {code}: {message}"),
        _ => match status {
            Some((status, _)) => format!("the server answered with status code {status}"),
            None => text.to_owned(),
        },
    };
    let short: String = text.chars().take(MAX_CAUSE).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// The status that an error has in its text; the library has no other access to that of a listing.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Returns whether the error is about the request for the credentials of the machine, before any to the bucket. Its
/// address exists only in clouds.
fn is_about_the_machine(error: &(dyn Error + 'static)) -> bool {
    const PATHS: [&str; 2] = ["/latest/api/token", "/latest/meta-data/"];

    let text = error.to_string();
    PATHS.iter().any(|path| text.contains(path))
}

fn invalid_path(error: &object_store::path::Error) -> String {
    use object_store::path::Error as Invalid;

    match error {
        Invalid::EmptySegment { path } | Invalid::BadSegment { path, .. } => path.clone(),
        other => other.to_string(),
    }
}

fn http_kind(error: &(dyn Error + 'static)) -> Option<HttpErrorKind> {
    chain(error).find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn objects(count: usize) -> String {
    match count {
        0 => "it has no object".to_owned(),
        1 => "the name of its one object is not one that is read".to_owned(),
        n => format!("none of its {n} objects has a name that is read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_code_and_message_or_its_start() {
        let page = format!("<html>{}", "x".repeat(1000));
        for (text, expected) in [
            (
                "Server returned non-2xx status code: 403 Forbidden: <?xml?><Error><Code>AccessDenied</Code>\
                 <Message>No.</Message><AWSAccessKeyId>KEY</AWSAccessKeyId></Error>",
                "the server answered AccessDenied: No.",
            ),
            (
                "Server returned non-2xx status code: 500 Internal Server Error: oops",
                "the server answered with status code 500 Internal Server Error",
            ),
            ("Connection refused (os error 111)", "Connection refused (os error 111)"),
        ] {
            assert_eq!(shortened(text), expected);
        }
        assert_eq!(status("Server returned non-2xx status code: 403 Forbidden: "), Some(403));
        assert_eq!(status("Connection refused"), None);
        assert_eq!(shortened(&page).chars().count(), MAX_CAUSE + 1);
    }
}
