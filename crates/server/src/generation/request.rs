//! A request to generate a text, and the events of the generation that answers it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Applied, EndReason, Plan, Sampling, Step};
use nanoscope_sae::SparseFeatures;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A generation that is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct GenerationRequest {
    pub(crate) prompt: Vec<u32>,
    pub(crate) plan: Plan,
    pub(crate) sampling: Sampling,
    /// Texts that end it.
    pub(crate) stop: Vec<String>,
    /// Whether it is the one before it but for its seed, so that it need not be checked too.
    pub(crate) copy: bool,
}

/// An event of a generation, in this order: `Started`, any number of `Token`s, `End`. A generation
/// that ends before its prompt was run has only the last.
#[derive(Debug)]
pub(crate) enum Event {
    Started {
        /// Tokens of the prompt that did not have to be run again.
        reused: usize,
        prompt_features: BTreeMap<HookPoint, SparseFeatures>,
    },
    Token {
        step: Step,
        /// The text that can be shown by now: without a stop string, or what may become one.
        text: String,
    },
    End {
        /// Text that was held back because it might have become a stop string.
        text: String,
        why: End,
        applied: Vec<Applied>,
    },
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    Model(EndReason),
    /// One of [`GenerationRequest::stop`] is in the text.
    StopString,
    /// It took longer than [`Limits::request_timeout`], its wait included.
    TimeOut,
    ShuttingDown,
    /// It, or one that ran beside it, met a fault of ours.
    Failed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(reason) => reason.fmt(f),
            Self::StopString => f.write_str("stop_string"),
            Self::TimeOut => f.write_str("time_out"),
            Self::ShuttingDown => f.write_str("shutting_down"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

/// A generation that waits or runs. Dropping it frees its row within one step.
#[derive(Debug)]
pub(crate) struct GenerationHandle {
    /// The scheduler's and the client's: it is free when the generation has ended and its events
    /// are read or given up. It goes before the events, so that who sees their end finds it free.
    _place: Arc<OwnedSemaphorePermit>,
    // A generation has at most as many events as tokens, so the queue needs no bound of its own,
    // and a client that reads nothing keeps nobody waiting.
    events: mpsc::UnboundedReceiver<Event>,
}

impl GenerationHandle {
    /// A generation whose events come from `events`, in `place`.
    pub(crate) fn new(
        place: Arc<OwnedSemaphorePermit>,
        events: mpsc::UnboundedReceiver<Event>,
    ) -> Self {
        Self { _place: place, events }
    }

    /// What happens next; none after the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}
