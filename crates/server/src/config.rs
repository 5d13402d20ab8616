use std::path::PathBuf;
use std::time::Duration;

/// The configuration of a server.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The key that requests must carry. Default: none, everybody may send requests.
    pub api_key: Option<String>,
    /// The folder for labels that users edit. Default: none, they go to the files in
    /// [`SaeInfo::user_labels`](crate::SaeInfo::user_labels).
    pub labels: Option<PathBuf>,
    /// Host names by which a reverse proxy makes the server reachable, as a browser's address bar shows
    /// them after `https://`. Default: none.
    pub public_names: Vec<String>,
    /// Resource limits.
    pub limits: Limits,
}

/// Resource limits of single requests and of the server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum number of generations that run together; more wait in the queue. Default: 64.
    pub rows: usize,
    /// Maximum number of waiting generations; more are rejected with 429. Default: 128.
    pub queue: usize,
    /// Maximum size of a request body in bytes. Default: 1 MiB.
    pub body: usize,
    /// Maximum number of tokens that a request may generate. Default: 4096.
    pub max_tokens: usize,
    /// Maximum duration of a request, including its wait in the queue. Default: 5 minutes.
    pub request_timeout: Duration,
    /// Maximum time in which a client must send the head of a request, and then its body. Default:
    /// 10 seconds.
    pub read_timeout: Duration,
    /// Maximum time for which a write may wait on a client that does not read. Default: 1 minute.
    pub write_timeout: Duration,
    /// Maximum number of open connections; fewer if the system's limit of open files cannot be raised to it.
    /// Default: 1024.
    pub connections: usize,
    /// Time that open streams get to finish when the server shuts down. Default: 3 seconds.
    pub shutdown_grace: Duration,
    /// Size of the prefix cache in bytes. Default: 256 MiB.
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
