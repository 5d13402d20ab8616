use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nanoscope_runtime::RuntimeError;
use nanoscope_tokenizer::TokenizerError;
use serde_json::json;

/// Seconds after which a client may retry when the server could not begin its text.
const RETRY_AFTER_SECONDS: u64 = 2;

/// Errors from starting or running a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Serving requires a tokenizer.
    #[error("the model has no tokenizer, which serving requires")]
    NoTokenizer,
    /// The system refused the listener's address or a thread.
    #[error("could not serve")]
    Io {
        /// The cause.
        source: std::io::Error,
    },
    /// The folder of edited labels cannot be created, or a file in it is not a label file.
    #[error("could not read the edited labels")]
    Labels {
        /// The cause.
        source: nanoscope_checkpoint::CheckpointError,
    },
}

/// An error response, in OpenAI's format: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A description for people.
    pub message: String,
    /// The invalid field of the request.
    pub param: Option<String>,
    /// A code for programs.
    pub code: Option<&'static str>,
    /// Seconds after which the client may retry.
    pub retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// 400: the request is invalid.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: the path or resource does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: Some("not_found"), ..Self::new(StatusCode::NOT_FOUND, message) }
    }

    /// 429: the queue is full; the client may retry after `retry_after` seconds.
    pub(crate) fn too_many_requests(message: impl Into<String>, retry_after: u64) -> Self {
        Self {
            code: Some("rate_limit_exceeded"),
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// 401: the key is missing or wrong.
    pub(crate) fn unauthorized() -> Self {
        Self {
            code: Some("invalid_api_key"),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "the API key is missing or wrong; send it as `Authorization: Bearer KEY` or \
                 `x-secret-key: KEY`",
            )
        }
    }

    /// 403: the request comes from another origin.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 408: the client is too slow.
    pub(crate) fn request_timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, message)
    }

    /// 413: the body is larger than `limit` bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 405: the path exists, but not for this method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed for this path")
    }

    /// 500: an internal error.
    pub(crate) fn internal() -> Self {
        let message = "internal server error; see the server's log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 400: the activations or logits of a run are not finite.
    pub(crate) fn not_finite(message: impl Into<String>) -> Self {
        Self { code: Some("not_finite"), ..Self::bad_request(message) }
    }

    /// 415: the body is encoded as `encoding`.
    pub(crate) fn encoded_body(encoding: &str) -> Self {
        let message =
            format!("Content-Encoding: {encoding} is not supported; send the body uncompressed");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 503: the server is shutting down.
    pub(crate) fn shutting_down() -> Self {
        Self {
            code: Some("shutting_down"),
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down")
        }
    }

    /// 503: the model is busy with other requests.
    pub(crate) fn busy() -> Self {
        Self {
            code: Some("busy"),
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "the model is busy with other requests")
        }
    }

    /// 429: the client has not read the answers that it has.
    pub(crate) fn unread() -> Self {
        let message =
            "this client has not read its other answers; read them, or close their connections";
        Self::too_many_requests(message, RETRY_AFTER_SECONDS)
    }

    /// 503: the request exceeded the time limit.
    pub(crate) fn timed_out() -> Self {
        let message = "the request exceeded the server's time limit";
        Self {
            code: Some("time_out"),
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }

    /// Sets the code for programs.
    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// 400: the text of `error`, followed by its causes.
    pub(crate) fn from_error(error: &dyn std::error::Error) -> Self {
        Self::bad_request(with_causes(error))
    }

    /// The body of the response.
    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        }})
    }

    /// Names the invalid field.
    pub(crate) fn with_param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// OpenAI's `type` for the status.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

/// The text of `error`, followed by its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<&RuntimeError> for ApiError {
    fn from(error: &RuntimeError) -> Self {
        let response = Self::from_error(error);
        match error {
            RuntimeError::Sampling { parameter, .. } => {
                response.with_param(parameter.replace('-', "_"))
            }
            RuntimeError::PromptTooLong { .. } => response.with_code("context_length_exceeded"),
            RuntimeError::NonFinite { .. } => response.with_code("not_finite"),
            _ => response,
        }
    }
}

impl From<TokenizerError> for ApiError {
    fn from(error: TokenizerError) -> Self {
        Self::from_error(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.json())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
