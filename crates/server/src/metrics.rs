//! Prometheus metrics.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::clients::{Ledger, RESOURCES};

/// The server's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) waiting: Gauge,
    pub(crate) running: Gauge,
    pub(crate) tokens: Counter,
    pub(crate) features: Counter,
    pub(crate) first_token: Histogram,
    speed: Histogram,
    prefix_hits: Counter,
    prefix_tokens: Counter,
    requests: Family<Status, Counter>,
    refusals: Family<Status, Counter>,
    seconds: Counter<f64, AtomicU64>,
    held: Family<OfResource, Gauge>,
    clients: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResource {
    resource: &'static str,
}

/// Bucket bounds in seconds.
const FIRST_TOKEN_BUCKETS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bucket bounds in tokens per second.
const SPEED_BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("nanoscope"),
            waiting: Gauge::default(),
            running: Gauge::default(),
            tokens: Counter::default(),
            features: Counter::default(),
            first_token: Histogram::new(FIRST_TOKEN_BUCKETS),
            speed: Histogram::new(SPEED_BUCKETS),
            prefix_hits: Counter::default(),
            prefix_tokens: Counter::default(),
            requests: Family::default(),
            refusals: Family::default(),
            seconds: Counter::default(),
            held: Family::default(),
            clients: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, .. } = self;
        registry.register("queue_length", "Waiting generations", self.waiting.clone());
        registry.register("running_rows", "Running generations", self.running.clone());
        registry.register("tokens_generated", "Generated tokens", self.tokens.clone());
        let seconds = "Total time from the first token of each generation to its end";
        let unit = Unit::Seconds;
        registry.register_with_unit("generation", seconds, unit, self.seconds.clone());
        let features = "Active tracked features of generated tokens";
        registry.register("features_tracked", features, self.features.clone());
        let first = "Time from a request to its first token, including its wait";
        registry.register_with_unit(
            "time_to_first_token",
            first,
            Unit::Seconds,
            self.first_token.clone(),
        );
        let speed = "Tokens per second of each generation";
        registry.register("tokens_per_second", speed, self.speed.clone());
        let hits = "Generations whose prompt was partly in the prefix cache";
        registry.register("prefix_hits", hits, self.prefix_hits.clone());
        let tokens = "Prompt tokens taken from the prefix cache";
        registry.register("prefix_tokens_reused", tokens, self.prefix_tokens.clone());
        registry.register("requests", "Responses by status", self.requests.clone());
        let refusals = "Responses with an error status, by status";
        registry.register("refusals", refusals, self.refusals.clone());
        let held = "What all clients together hold of each shared resource";
        registry.register("held", held, self.held.clone());
        let clients = "Clients that hold some of a shared resource";
        registry.register("clients", clients, self.clients.clone());
    }

    /// Encodes all metrics in the OpenMetrics text format. `ledger` has what clients hold now.
    pub(crate) fn encode(&self, ledger: &Ledger) -> String {
        for (resource, name) in RESOURCES {
            let held = self.held.get_or_create(&OfResource { resource: name });
            held.set(ledger.held(resource) as i64);
        }
        self.clients.set(ledger.clients() as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }

    /// Records a response.
    pub(crate) fn record_response(&self, status: u16) {
        self.requests.get_or_create(&Status { status }).inc();
        if status >= 400 {
            self.refusals.get_or_create(&Status { status }).inc();
        }
    }

    /// Records prompt tokens taken from the prefix cache.
    pub(crate) fn record_reuse(&self, tokens: usize) {
        if tokens > 0 {
            self.prefix_hits.inc();
            self.prefix_tokens.inc_by(tokens as u64);
        }
    }

    /// Records a generation that ended `took` after its first token was begun; `None` if it had no token.
    pub(crate) fn record_generation(&self, tokens: usize, took: Option<Duration>) {
        let Some(took) = took.map(|took| took.as_secs_f64()) else {
            return;
        };
        self.seconds.inc_by(took);
        if tokens > 1 && took > 0.0 {
            self.speed.observe((tokens - 1) as f64 / took);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
