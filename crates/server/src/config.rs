use std::path::PathBuf;
use std::time::Duration;

/// The configuration of a server.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The keys, one of which requests must carry. With several, each is a client of its own; otherwise each
    /// address is. Default: none, everybody may send requests.
    pub api_keys: Vec<String>,
    /// True if a proxy in front of the server sets `X-Forwarded-For`, whose last address then is the client's.
    /// Default: false, the header is ignored.
    pub trust_forwarded_for: bool,
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
    /// Maximum time for which a write may wait on a client that does not read; then its connection is closed.
    /// Default: 1 minute.
    pub write_timeout: Duration,
    /// Maximum size in bytes of answers that clients have not read. Texts of the clients with the most end.
    /// Default: 512 MiB.
    pub unread: usize,
    /// Maximum share in percent, rounded up, of `rows`, `rows + queue`, `unread`, `connections` and the other
    /// queues that one client holds; 1 to 100. Default: 75.
    pub client_share: u8,
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
            unread: 512 << 20,
            client_share: 75,
            connections: 1024,
            shutdown_grace: Duration::from_secs(3),
            prefix_cache: 256 << 20,
        }
    }
}

impl Limits {
    /// The most that one client may hold of a resource of which there is `total`.
    pub(crate) fn share_of(&self, total: usize) -> usize {
        let share = (total as u128 * u128::from(self.client_share)).div_ceil(100);
        (share as usize).clamp(1, total.max(1))
    }
}
