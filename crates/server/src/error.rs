use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nanoscope_runtime::RuntimeError;
use nanoscope_tokenizer::TokenizerError;
use serde_json::json;

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Texts are what clients send, and only a tokenizer can read them.
    #[error("the model has no tokenizer")]
    NoTokenizer,
    /// The system does not give what a server needs.
    #[error("could not serve")]
    Io {
        /// Why.
        source: std::io::Error,
    },
    /// A label that was given before cannot be had, or where labels are kept is something else.
    #[error("could not read the labels that people gave")]
    Labels {
        /// Why.
        source: nanoscope_checkpoint::CheckpointError,
    },
}

/// A request that gets no answer; said as OpenAI says it:
/// `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong, for a person.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// What is wrong, for a program.
    pub code: Option<&'static str>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// 400: the request cannot be followed.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: there is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: Some("not_found"), ..Self::new(StatusCode::NOT_FOUND, message) }
    }

    /// 429: too much is asked for at once.
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
                "the API key is missing or wrong; send it as `Authorization: Bearer KEY` or as \
                 `x-secret-key: KEY`",
            )
        }
    }

    /// 403: a page of somebody else's asks.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 408: the client is too slow.
    pub(crate) fn request_timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, message)
    }

    /// 413: the body has more bytes than `limit`.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 405: the path is there, for other methods.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed on this path")
    }

    /// 500: a fault of ours.
    pub(crate) fn internal() -> Self {
        let message = "the request met a fault in the server; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 503: the server is about to end.
    pub(crate) fn shutting_down() -> Self {
        Self {
            code: Some("shutting_down"),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down")
        }
    }

    /// 503: the time that a request may take is over.
    pub(crate) fn timed_out() -> Self {
        let message = "the request took longer than this server lets one take";
        Self { code: Some("time_out"), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// The same, with what is wrong for a program.
    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// 400: `error` with its causes.
    pub(crate) fn from_error(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::bad_request(message)
    }

    /// What an answer says, without its status.
    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        }})
    }

    /// The same, about the field `param`.
    pub(crate) fn with_param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<&RuntimeError> for ApiError {
    fn from(error: &RuntimeError) -> Self {
        let refusal = Self::from_error(error);
        match error {
            RuntimeError::Sampling { parameter, .. } => {
                refusal.with_param(parameter.replace('-', "_"))
            }
            RuntimeError::PromptTooLong { .. } => refusal.with_code("context_length_exceeded"),
            _ => refusal,
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
