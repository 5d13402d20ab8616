use std::sync::Arc;

use nanoscope_hooks::HookPoint;
use nanoscope_tokenizer::Tokenizer;

use crate::config::Config;
use crate::labels::LabelBook;
use crate::metrics::Metrics;
use crate::passes::Passes;
use crate::scheduler::Scheduler;
use crate::scope::Scope;

/// What every handler sees.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) scope: Arc<Scope>,
    pub(crate) config: Arc<Config>,
    pub(crate) labels: LabelBook,
    pub(crate) passes: Passes,
    pub(crate) scheduler: Scheduler,
    pub(crate) metrics: Arc<Metrics>,
    /// Seconds since 1970 at which the server began.
    pub(crate) began: u64,
}

impl AppState {
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.scope.model.tokenizer().expect("a scope without a tokenizer is not served")
    }

    /// What the feature `index` of the SAE at `hook` means, if somebody said it.
    pub(crate) fn label(&self, hook: HookPoint, index: u32) -> Option<String> {
        self.labels.get(hook, index)
    }

    /// The bytes that a text can have at most and still fit into the context.
    pub(crate) fn most_text(&self) -> usize {
        let tokenizer = self.tokenizer();
        let bytes = |id| tokenizer.token_bytes(id).map_or(0, <[u8]>::len);
        let longest = (0..tokenizer.vocab_size() as u32).map(bytes).max().unwrap_or(0);
        longest.saturating_mul(self.scope.model.context_len())
    }
}
