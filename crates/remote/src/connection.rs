//! The connection to a bucket or to a web server.

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::http::HttpBuilder;
use object_store::{
    BackoffConfig, Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig,
};
use tokio::runtime::Runtime;

use crate::environment::{endpoint, environment_options, has_credential_variables, is_true};
use crate::error::{Cause, RemoteError};
use crate::location::{Host, Location};

/// The way in which a download is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes to download; 0 while objects are being found.
    pub total: u64,
}

/// A function that sees the progress several times a second, and can stop the work.
pub type Watch<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// A connection to the server of a location. Nothing is sent before objects are looked for.
pub struct Remote {
    pub(crate) location: Location,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// False if the environment has no credentials, so that the machine is asked for them.
    pub(crate) has_credentials: bool,
    /// Always there, but for the drop.
    runtime: Option<Runtime>,
}

/// The time between two calls of a [`Watch`].
const TICK: Duration = Duration::from_millis(100);
/// The time after which a server that sends nothing is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The time after which a server that cannot be connected to is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of times that a failed request is sent again, over a few seconds in all.
const RETRIES: usize = 4;
/// The time after which a failed request is not sent again.
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);
/// The first and the longest pause before a request is sent again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

impl Remote {
    /// A connection to the server of `location`, with credentials and settings from AWS's environment variables if
    /// that is a bucket.
    ///
    /// # Errors
    /// [`RemoteError::Settings`], [`RemoteError::Unencrypted`]; [`RemoteError::Io`] if the system has no resources
    /// for it.
    pub fn connect(location: &Location) -> Result<Self, RemoteError> {
        // Another provider may have been installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = |error: object_store::Error| RemoteError::Settings {
            location: location.to_string(),
            source: Cause::of(&error),
        };
        let mut has_credentials = true;
        let store: Arc<dyn ObjectStore> = match &location.host {
            Host::Bucket(bucket) => {
                let options = client_options(environment_options());
                let is_plain = endpoint().is_some_and(|url| url.starts_with("http://"));
                if is_plain && !is_true(options.get_config_value(&ClientConfigKey::AllowHttp)) {
                    return Err(RemoteError::Unencrypted { location: location.to_string() });
                }
                let builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retries())
                    .with_client_options(with_certificates(options).map_err(settings)?);
                has_credentials = has_credential_variables()
                    || is_true(builder.get_config_value(&AmazonS3ConfigKey::SkipSignature));
                Arc::new(builder.build().map_err(settings)?)
            }
            Host::Server(url) => {
                let options = client_options(ClientOptions::new());
                let options = options.with_allow_http(url.scheme() == "http");
                let builder = HttpBuilder::new()
                    .with_url(url.as_str())
                    .with_retry(retries())
                    .with_client_options(with_certificates(options).map_err(settings)?);
                Arc::new(builder.build().map_err(settings)?)
            }
        };
        let mut remote = Self::with_store(location, store)?;
        remote.has_credentials = has_credentials;
        Ok(remote)
    }

    /// A connection through `store`, whose paths are those of the location's bucket or server.
    ///
    /// # Errors
    /// [`RemoteError::Io`] if the system has no resources for it.
    pub fn with_store(
        location: &Location,
        store: Arc<dyn ObjectStore>,
    ) -> Result<Self, RemoteError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| RemoteError::io("/dev".as_ref(), source))?;
        Ok(Self {
            location: location.clone(),
            store,
            has_credentials: true,
            runtime: Some(runtime),
        })
    }

    /// The location that this is a connection to.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Waits for `work`, which counts its bytes in `counters`.
    pub(crate) fn run<T>(
        &self,
        work: impl Future<Output = Result<T, RemoteError>>,
        counters: &Counters,
        watch: Watch<'_>,
    ) -> Result<T, RemoteError> {
        let runtime = self.runtime.as_ref().expect("it is there until the drop");
        runtime.block_on(async {
            let mut work = pin!(work);
            let mut ticks = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        if watch(counters.progress()).is_break() {
                            return Err(RemoteError::Interrupted);
                        }
                    }
                    result = &mut work => return result,
                }
            }
        })
    }

    pub(crate) fn fault(&self, location: &Location, error: &object_store::Error) -> RemoteError {
        RemoteError::request(location.to_string(), error, self.has_credentials)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait for the thread of a name server that does not answer.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the store, which has the credentials.
        f.debug_struct("Remote").field("location", &self.location).finish_non_exhaustive()
    }
}

/// The bytes of a download, which its tasks count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) done: AtomicU64,
    pub(crate) total: AtomicU64,
}

impl Counters {
    fn progress(&self) -> Progress {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Progress { done: get(&self.done), total: get(&self.total) }
    }
}

fn client_options(options: ClientOptions) -> ClientOptions {
    options
        .with_timeout_disabled()
        .with_read_timeout(READ_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
}

/// Adds Mozilla's certificates to those of the system, which a container may not have.
fn with_certificates(mut options: ClientOptions) -> Result<ClientOptions, object_store::Error> {
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        options = options.with_root_certificate(Certificate::from_der(certificate)?);
    }
    Ok(options)
}

fn retries() -> RetryConfig {
    let (init_backoff, max_backoff) = BACKOFF;
    let backoff = BackoffConfig { init_backoff, max_backoff, ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
}
