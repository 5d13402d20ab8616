//! Extractors for JSON bodies, which are bounded in size and time, and for path parameters.

use axum::body::{Body, Bytes};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::request::Parts;
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, Deserializer};

use crate::config::Limits;
use crate::error::ApiError;
use crate::platform::within;
use crate::state::AppState;

/// Extracts the JSON body as a `T`, whatever its content type. A rejection names the invalid field.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// Extracts the JSON body as a `T` that is checked against the server's state.
#[derive(Debug)]
pub(crate) struct Checked<T>(pub(crate) T);

/// A request that is made from its JSON and the server's state.
pub(crate) trait FromJson: Sized + Send + 'static {
    /// The form in which the JSON is read.
    type Raw: DeserializeOwned;

    /// Reads and checks the request.
    ///
    /// # Errors
    /// If a field is invalid.
    fn from_json(raw: Self::Raw, state: &AppState) -> Result<Self, ApiError>;
}

/// The size in bytes from which a body is parsed on a thread where it blocks no other request.
const LARGE: usize = 64 << 10;

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        parsed(request, state, |bytes, _| read_json(bytes)).await.map(Self)
    }
}

impl<T: FromJson> FromRequest<AppState> for Checked<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let read = |bytes: &[u8], state: &AppState| T::from_json(read_json(bytes)?, state);
        parsed(request, state, read).await.map(Self)
    }
}

/// Reads the body and parses it, on another thread if it is large.
async fn parsed<T: Send + 'static>(
    request: Request,
    state: &AppState,
    parse: impl FnOnce(&[u8], &AppState) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let (mut parts, body) = request.into_parts();
    let state = AppState::from_request_parts(&mut parts, state).await?;
    let encoding = content_encoding(&parts.headers);
    let bytes = read(Request::from_parts(parts, body), &state.config.limits).await?;
    if let Some(encoding) = encoding {
        return Err(ApiError::encoded_body(&encoding));
    }
    if bytes.len() < LARGE {
        return parse(&bytes, &state);
    }
    state.run_blocking(move |state| parse(&bytes, state)).await
}

/// Deserialises a `T` from a whole body, which must be a JSON object.
fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would read a list as the fields in declaration order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::bad_request("expected a JSON object, found a list"));
    }
    // serde_json limits the nesting to 128 levels.
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|e| invalid_field(&e, ""))?;
    json.end()
        .map_err(|error| ApiError::bad_request(format!("the body is not valid JSON: {error}")))?;
    Ok(read)
}

/// Extracts the path parameters as a `T`. Parameters that are not valid UTF-8 are rejected with 400.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let path = extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|extract::Path(parameters)| Self(parameters))
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))
    }
}

/// Deserialises a `T` from `value`, which is at `path` in the body. Fields that `T` does not have are not
/// looked at.
///
/// # Errors
/// 400 with the path of the invalid field.
pub(crate) fn parse<'v, T: DeserializeOwned>(
    value: impl Deserializer<'v, Error = serde_json::Error>,
    path: &str,
) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| invalid_field(&error, path))
}

/// The response to a field that does not deserialise.
fn invalid_field(error: &serde_path_to_error::Error<serde_json::Error>, path: &str) -> ApiError {
    let (inner, why) = (error.path().to_string(), error.inner());
    let inner = if inner == "." { "" } else { &inner };
    let dot = if path.is_empty() || inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    let mut field = format!("{path}{dot}{inner}");
    let text = why.to_string();
    if let Some(missing) = text.strip_prefix("missing field `").and_then(|t| t.split('`').next()) {
        let dot = if field.is_empty() { "" } else { "." };
        field = format!("{field}{dot}{missing}");
    }
    if field.is_empty() {
        return ApiError::bad_request(format!("invalid body: {why}"));
    }
    ApiError::bad_request(format!("{field}: {why}")).with_param(field)
}

/// The encodings of the body, unless it is sent as it is.
fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(CONTENT_ENCODING).iter();
    let all: Vec<_> = all.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let all = all.join(", ");
    let plain = |name: &str| name.is_empty() || name.eq_ignore_ascii_case("identity");
    (!all.split(',').map(str::trim).all(plain)).then_some(all)
}

/// Reads the body within the limits of size and time.
async fn read(request: Request, limits: &Limits) -> Result<Bytes, ApiError> {
    /// A larger body is read and discarded up to this multiple of the limit, so that a client that is
    /// still sending can read the rejection.
    const DISCARD_FACTOR: usize = 32;

    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced: Option<usize> = announced.and_then(|value| value.parse().ok());
    if announced.is_some_and(|length| length > limits.body.saturating_mul(DISCARD_FACTOR)) {
        return Err(ApiError::too_large(limits.body));
    }
    let all = async {
        let mut body: Body = request.into_body();
        let (mut read, mut bytes) = (0_usize, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::bad_request("the body is incomplete"))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            read += data.len();
            if read <= limits.body {
                bytes.extend_from_slice(data);
            } else if read > limits.body.saturating_mul(DISCARD_FACTOR) {
                break;
            } else {
                bytes = Vec::new();
            }
        }
        if read > limits.body { Err(ApiError::too_large(limits.body)) } else { Ok(bytes.into()) }
    };
    let late = || {
        let seconds = limits.read_timeout.as_secs();
        Err(ApiError::request_timeout(format!("the body did not arrive within {seconds} seconds")))
    };
    within(limits.read_timeout, all).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::thread::{ThreadId, current};

    use super::*;
    use crate::clients::ClientId;
    use crate::config::Config;
    use crate::server_fixture::served_model;

    /// The thread on which a body was parsed.
    #[derive(Debug)]
    struct ParsedOn(ThreadId);

    impl<'de> serde::Deserialize<'de> for ParsedOn {
        fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(body)?;
            Ok(Self(current().id()))
        }
    }

    #[tokio::test]
    async fn a_large_body_is_parsed_on_another_thread_and_a_small_one_is_not() {
        let state = AppState::new(served_model(), Config::default(), 1).unwrap();
        for (size, is_here) in [(LARGE - 1, true), (LARGE, false)] {
            let text = r#"{"prompt": "the"}"#;
            let text = text.to_owned() + &" ".repeat(size - text.len());
            let mut request = Request::new(Body::from(text));
            request.extensions_mut().insert(ClientId::Key(0));

            let Json(ParsedOn(thread)) = Json::from_request(request, &state).await.unwrap();

            assert_eq!(thread == current().id(), is_here, "{size}");
        }
    }
}
