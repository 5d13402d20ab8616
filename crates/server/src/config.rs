use std::path::PathBuf;
use std::time::Duration;

/// How a model is served.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Who has it may ask; none for everybody.
    pub api_key: Option<String>,
    /// Where labels that people give are kept; none keeps them in memory.
    pub labels: Option<PathBuf>,
    /// AllowedHosts beside this machine's own by which a proxy is asked for it: what a browser has in its
    /// address bar after `https://`.
    pub public_names: Vec<String>,
    /// What one request and all of them together may take.
    pub limits: Limits,
}

/// What requests may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Generations that run together; more wait.
    pub rows: usize,
    /// Generations that wait; more are told to come back (429).
    pub queue: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Tokens that a request generates at most.
    pub max_tokens: usize,
    /// How long a request may take, its wait included.
    pub request_timeout: Duration,
    /// How long a client may take to send a request's head, and then its body.
    pub read_timeout: Duration,
    /// How long a client may read nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// Connections that are open together.
    pub connections: usize,
    /// How long streams have for their last words when the server ends.
    pub shutdown_grace: Duration,
    /// Bytes of the cache of prompts' beginnings.
    pub prefix_cache: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 64,
            queue: 128,
            body: 1 << 20,
            max_tokens: 4096,
            request_timeout: Duration::from_mins(5),
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_mins(1),
            connections: 1024,
            shutdown_grace: Duration::from_secs(3),
            prefix_cache: 256 << 20,
        }
    }
}
