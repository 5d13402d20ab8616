use std::sync::Arc;

use nanoscope_hooks::HookPoint;
use nanoscope_tokenizer::{ASSISTANT_START, Conversation, Tokenizer, TokenizerError};

use crate::analysis::AnalysisQueue;
use crate::config::Config;
use crate::error::ApiError;
use crate::generation::Scheduler;
use crate::labels::LabelBook;
use crate::metrics::Metrics;
use crate::served_model::ServedModel;

/// What every handler sees.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) served: Arc<ServedModel>,
    pub(crate) config: Arc<Config>,
    pub(crate) labels: LabelBook,
    pub(crate) analysis: AnalysisQueue,
    pub(crate) scheduler: Scheduler,
    pub(crate) metrics: Arc<Metrics>,
    /// Seconds since 1970 at which the server began.
    pub(crate) started_at: u64,
}

impl AppState {
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.served.model.tokenizer().expect("a served without a tokenizer is not served")
    }

    /// The ids of a whole conversation, up to where the assistant answers. What does not fit into the
    /// context is for the caller to refuse; nothing is cut.
    pub(crate) fn render(&self, conversation: &Conversation) -> Result<Vec<u32>, TokenizerError> {
        let tokenizer = self.tokenizer();
        let mut ids = tokenizer.render_conversation(conversation, usize::MAX)?.ids;
        ids.extend(tokenizer.special(ASSISTANT_START));
        Ok(ids)
    }

    /// What the feature `index` of the SAE at `hook` means, if somebody said it.
    pub(crate) fn label(&self, hook: HookPoint, index: u32) -> Option<String> {
        self.labels.get(hook, index)
    }

    /// The bytes that a text can have at most and still fit into the context.
    pub(crate) fn max_text_bytes(&self) -> usize {
        self.served.max_text_bytes()
    }

    /// Does what takes a while, such as making tokens of a long text, where nobody else waits for it.
    ///
    /// # Errors
    /// 500 if it panics, and its own.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&state));
        done.await.unwrap_or_else(|_| Err(ApiError::internal()))
    }
}
