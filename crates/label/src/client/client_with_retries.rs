use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;
use ureq::http::StatusCode;
use ureq::http::header::HeaderValue;

use super::chat::{Dialect, Usage, completion, message};
use super::endpoint::Endpoint;
use super::retry::{MAX_ATTEMPTS, MAX_SLOW_ATTEMPTS, MAX_WAIT, backoff, may_pass, retry_after};
use crate::LabelError;
use crate::prompt::Message;

/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// The time between looks at whether the work is to end.
const TICK: Duration = Duration::from_millis(50);

/// Options for a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The time that one request may take.
    pub timeout: Duration,
    /// The wait before the second attempt. It doubles with each further one.
    pub first_wait: Duration,
    /// The maximum number of tokens of an answer.
    pub answer_tokens: u32,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(2),
            first_wait: Duration::from_secs(1),
            answer_tokens: 1024,
        }
    }
}

/// A model behind an OpenAI-compatible chat endpoint.
///
/// A request is repeated if the endpoint is busy or fails for a moment (status 429 or 5xx, no answer in
/// time, a broken connection), after the wait that it asks for, or after 1, 2, 4, 8 and 16 seconds. Redirects
/// are not followed, because the text and the key would go where nobody sent them.
pub struct Client {
    agent: ureq::Agent,
    endpoint: Endpoint,
    model: String,
    authorization: Option<HeaderValue>,
    options: ClientOptions,
    dialect: Mutex<Dialect>,
    /// True once the endpoint has answered anything.
    is_reached: AtomicBool,
}

/// The answer of a model to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The tokens that the endpoint counted; zeros if it does not count.
    pub usage: Usage,
}

/// The result of one attempt.
enum Attempt {
    Done(Answer),
    /// The same request may be answered later. It is sent `max` times at most.
    Later {
        error: LabelError,
        wait: Option<Duration>,
        max: u32,
    },
    /// The same question may be answered in another dialect.
    OtherDialect(Dialect),
}

impl Client {
    /// The client of `model` at `endpoint`. `key` is sent as a bearer token.
    ///
    /// # Errors
    /// [`LabelError::Key`] if the key has characters that a header cannot have.
    pub fn new(
        endpoint: Endpoint,
        model: &str,
        key: Option<&str>,
        options: ClientOptions,
    ) -> Result<Self, LabelError> {
        let bearer = |key: &str| HeaderValue::from_str(&format!("Bearer {}", key.trim()));
        let mut authorization = key.map(bearer).transpose().map_err(|_| LabelError::Key)?;
        if let Some(header) = &mut authorization {
            header.set_sensitive(true);
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("nanoscope/", env!("CARGO_PKG_VERSION")));
        if endpoint.is_local() {
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            endpoint,
            model: model.to_owned(),
            authorization,
            options,
            dialect: Mutex::default(),
            is_reached: AtomicBool::new(false),
        })
    }

    /// The name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Sends the messages until they are answered. `stopped` ends the work between two attempts.
    ///
    /// # Errors
    /// [`LabelError::Unreachable`], [`LabelError::Refused`], [`LabelError::WaitTooLong`],
    /// [`LabelError::TooLarge`], [`LabelError::NotChat`], and [`LabelError::Interrupted`] if `stopped` was
    /// set.
    pub fn ask(&self, messages: &[Message], stopped: &AtomicBool) -> Result<Answer, LabelError> {
        let mut attempt = 0;
        loop {
            if stopped.load(Ordering::Relaxed) {
                return Err(LabelError::Interrupted);
            }
            match self.attempt(messages)? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::OtherDialect(dialect) => *self.dialect() = dialect,
                Attempt::Later { error, max, .. } if attempt + 1 >= max => return Err(error),
                Attempt::Later { wait, .. } => {
                    let wait = wait.unwrap_or_else(|| backoff(self.options.first_wait, attempt));
                    sleep(wait, stopped);
                    attempt += 1;
                }
            }
        }
    }

    /// Sends the messages once.
    fn attempt(&self, messages: &[Message]) -> Result<Attempt, LabelError> {
        let dialect = *self.dialect();
        let body = dialect.body(&self.model, messages, self.options.answer_tokens);
        let mut request =
            self.agent.post(self.endpoint.url()).header("Content-Type", "application/json");
        if let Some(key) = &self.authorization {
            request = request.header("Authorization", key.clone());
        }
        let mut response = match request.send(body.to_string()) {
            Ok(response) => response,
            Err(error) => return self.broken(error),
        };
        self.is_reached.store(true, Ordering::Relaxed);
        let status = response.status();
        let wait = response.headers().get("Retry-After");
        let wait = wait.and_then(|wait| retry_after(wait.to_str().ok()?, Utc::now()));
        let body = match response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec() {
            Ok(body) => body,
            Err(ureq::Error::BodyExceedsLimit(max)) => {
                return Err(LabelError::TooLarge { url: self.url(), max });
            }
            Err(error) => return self.broken(error),
        };
        self.read(dialect, status, wait, &body)
    }

    /// Reads the answer to a request in `dialect`.
    fn read(
        &self,
        dialect: Dialect,
        status: StatusCode,
        wait: Option<Duration>,
        body: &[u8],
    ) -> Result<Attempt, LabelError> {
        let url = self.url();
        if status.is_success() {
            let (text, usage) =
                completion(body).map_err(|reason| LabelError::NotChat { url, reason })?;
            return Ok(Attempt::Done(Answer { text, usage }));
        }
        let status = status.as_u16();
        let message = message(body);
        if may_pass(status) {
            if let Some(wait) = wait.filter(|&wait| wait > MAX_WAIT) {
                return Err(LabelError::WaitTooLong { url, status, wait });
            }
            let error = LabelError::Refused { url, status, message };
            return Ok(Attempt::Later { error, wait, max: MAX_ATTEMPTS });
        }
        if status == 400
            && let Some(other) = dialect.after(&message)
        {
            return Ok(Attempt::OtherDialect(other));
        }
        Err(LabelError::Refused { url, status, message })
    }

    /// A request that got no whole answer. It is repeated, unless there was never an answer: then the
    /// address is probably wrong, or nothing listens there.
    fn broken(&self, source: ureq::Error) -> Result<Attempt, LabelError> {
        let may_pass = matches!(
            source,
            ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::ConnectionFailed
                | ureq::Error::HostNotFound
                | ureq::Error::Protocol(_)
        );
        let is_slow = matches!(source, ureq::Error::Timeout(_));
        let error = LabelError::Unreachable { url: self.url(), source: Box::new(source) };
        if may_pass && (is_slow || self.is_reached.load(Ordering::Relaxed)) {
            let max = if is_slow { MAX_SLOW_ATTEMPTS } else { MAX_ATTEMPTS };
            Ok(Attempt::Later { error, wait: None, max })
        } else {
            Err(error)
        }
    }

    fn dialect(&self) -> std::sync::MutexGuard<'_, Dialect> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self) -> String {
        self.endpoint.url().to_owned()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("model", &self.model)
            .field("has_key", &self.authorization.is_some())
            .finish_non_exhaustive()
    }
}

/// Waits, but not after `stopped` was set.
fn sleep(wait: Duration, stopped: &AtomicBool) {
    let begun = Instant::now();
    while begun.elapsed() < wait && !stopped.load(Ordering::Relaxed) {
        thread::sleep(TICK.min(wait.saturating_sub(begun.elapsed())));
    }
}
