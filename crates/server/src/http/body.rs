//! A request's body: JSON, of a bounded size, within a bounded time; and what its path names.

use axum::body::{Body, Bytes};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Limits;
use crate::error::ApiError;
use crate::state::AppState;

/// The body as a `T`. Its content type is not looked at; what is not as it should be is refused with
/// the name of the field.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let bytes = read(request, &state.config.limits).await?;
        // A list would be taken for the fields in their order.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(ApiError::bad_request("the body is a list, and an object is needed"));
        }
        // serde_json goes 128 levels deep, and no further.
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|e| wrong(&e, ""))?;
        json.end()
            .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))?;
        Ok(Self(read))
    }
}

/// The variable parts of the path as a `T`; those that are no text are refused as anything else is.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let path = extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|extract::Path(named)| Self(named))
            .map_err(|refused| ApiError::bad_request(refused.body_text()))
    }
}

/// Reads a `T` out of `value`, which stands at `path` in the body.
pub(crate) fn parse<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong(&error, path))
}

fn wrong(error: &serde_path_to_error::Error<serde_json::Error>, path: &str) -> ApiError {
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
        return ApiError::bad_request(format!("the body is not as it should be: {why}"));
    }
    ApiError::bad_request(format!("{field}: {why}")).with_param(field)
}

async fn read(request: Request, limits: &Limits) -> Result<Bytes, ApiError> {
    /// How many times as much as is allowed is read and thrown away, so that a client that is still
    /// sending gets to read the refusal.
    const PATIENCE: usize = 32;

    let said = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let said: Option<usize> = said.and_then(|value| value.parse().ok());
    if said.is_some_and(|said| said > limits.body.saturating_mul(PATIENCE)) {
        return Err(ApiError::too_large(limits.body));
    }
    let all = async {
        let mut body: Body = request.into_body();
        let (mut read, mut bytes) = (0_usize, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|_| ApiError::bad_request("the body ended before its end"))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            read += data.len();
            if read <= limits.body {
                bytes.extend_from_slice(data);
            } else if read > limits.body.saturating_mul(PATIENCE) {
                break;
            } else {
                bytes = Vec::new();
            }
        }
        if read > limits.body { Err(ApiError::too_large(limits.body)) } else { Ok(bytes.into()) }
    };
    let late = |_| {
        let seconds = limits.read_timeout.as_secs();
        Err(ApiError::request_timeout(format!("the body did not arrive within {seconds} seconds")))
    };
    tokio::time::timeout(limits.read_timeout, all).await.unwrap_or_else(late)
}
