use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use nanoscope_hooks::HookPoint;
use nanoscope_tokenizer::{Conversation, Tokenizer, TokenizerError};
use web_time::{SystemTime, UNIX_EPOCH};

use crate::analysis::AnalysisQueue;
use crate::clients::{ClientId, FairQueue, Ledger, Resource};
use crate::config::Config;
use crate::error::{ApiError, ServeError};
use crate::generation::{IdleWorker, Scheduler};
use crate::labels::LabelBook;
use crate::metrics::Metrics;
use crate::served_model::ServedModel;

/// State shared by all handlers. As an extractor, it is bound to the client of the request.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) served: Arc<ServedModel>,
    pub(crate) config: Arc<Config>,
    pub(crate) labels: LabelBook,
    pub(crate) analysis: AnalysisQueue,
    pub(crate) scheduler: Scheduler,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ledger: Ledger,
    errands: FairQueue,
    client: ClientId,
    /// Unix time at which the server started, in seconds.
    pub(crate) started_at: u64,
}

impl FromRequestParts<Self> for AppState {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Self) -> Result<Self, ApiError> {
        // Without it the request has not been through the authentication.
        let client = *parts.extensions.get::<ClientId>().ok_or_else(ApiError::internal)?;
        Ok(state.clone().for_client(client))
    }
}

impl AppState {
    /// The state of a server that starts now, with at most `connections` open connections. Its texts are written
    /// on a thread.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if the system refuses a thread.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn new(
        served: ServedModel,
        config: Config,
        connections: usize,
    ) -> Result<Self, ServeError> {
        let (state, worker) = Self::open(served, config, connections)?;
        worker.spawn().map_err(|source| ServeError::Io { source })?;
        Ok(state)
    }

    /// The state of a server of `served`, and the worker that has to be started for it.
    ///
    /// # Errors
    /// [`ServeError`] if the model has no tokenizer or the edited labels cannot be read.
    pub(crate) fn open(
        served: ServedModel,
        config: Config,
        connections: usize,
    ) -> Result<(Self, IdleWorker), ServeError> {
        if served.model.tokenizer().is_none() {
            return Err(ServeError::NoTokenizer);
        }
        let labels = LabelBook::open(&served, &config)?;
        let limits = &config.limits;
        let (served, metrics) = (Arc::new(served), Arc::new(Metrics::new()));
        let ledger = Ledger::new(limits, connections);
        let client = ClientId::of_address(std::net::Ipv4Addr::LOCALHOST.into());
        let (scheduler, worker) = Scheduler::new(
            Arc::clone(&served),
            limits.clone(),
            Arc::clone(&metrics),
            ledger.clone(),
        );
        let analysis = AnalysisQueue::new(ledger.clone(), limits.request_timeout);
        // The generations need the other half.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let errands = FairQueue::new(ledger.clone(), Resource::Errands, threads.div_ceil(2));
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let config = Arc::new(config);
        let state = Self {
            served,
            config,
            labels,
            analysis,
            scheduler,
            metrics,
            ledger,
            errands,
            client,
            started_at,
        };
        Ok((state, worker))
    }

    /// Rejects new work, and ends the work that waits or runs.
    pub(crate) fn close(&self) {
        self.scheduler.close();
        self.analysis.close();
        self.errands.close();
    }

    /// The same state, whose queues count work as that of `client`.
    pub(crate) fn for_client(mut self, client: ClientId) -> Self {
        self.scheduler.client = client;
        self.analysis.client = client;
        self.client = client;
        self
    }

    /// The model's tokenizer.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.served.model.tokenizer().expect("a model without a tokenizer is not served")
    }

    /// The token ids of a conversation, up to the start of the assistant's answer. Nothing is
    /// truncated: the caller must reject a conversation that exceeds the context.
    pub(crate) fn render(&self, conversation: &Conversation) -> Result<Vec<u32>, TokenizerError> {
        self.tokenizer().render_for_answer(conversation)
    }

    /// The name of the feature `index` of the SAE at `hook`: its label, or an automatic name that is known,
    /// with `true`.
    pub(crate) fn name(&self, hook: HookPoint, index: u32) -> Option<(String, bool)> {
        let automatic = || Some((self.served.names.get(hook, index)?.to_string(), true));
        let label = self.labels.get(hook, index);
        let label = label.map(|label| (label, self.labels.is_automatic(hook, index)));
        label.or_else(automatic)
    }

    /// Computes automatic names of `features`, as far as that takes fractions of a second.
    pub(crate) fn prepare_names(&self, hook: HookPoint, features: &[(u32, f32)]) {
        let unlabelled = features.iter().map(|&(index, _)| index);
        let unlabelled = unlabelled.filter(|&index| self.labels.get(hook, index).is_none());
        // Only a feature that the SAE does not have is an error.
        let _ = self.served.names.prepare(&self.served.model, hook, unlabelled);
    }

    /// The maximum length in bytes of a text that fits into the context.
    pub(crate) fn max_text_bytes(&self) -> usize {
        self.served.max_text_bytes()
    }

    /// Runs slow work, for example tokenizing a long text, on a thread where it blocks no other
    /// request. It does not wait for passes of the model.
    ///
    /// # Errors
    /// As [`FairQueue::run`].
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        self.errands.run(self.client, move || work(&state)).await
    }
}
