//! Generation requests, and the events that a generation sends back.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, InterventionReport, Plan, Sampling, Step};
use nanoscope_sae::SparseFeatures;
use tokio::sync::mpsc;

use crate::clients::Held;
use crate::error::ApiError;

/// A request to generate one text.
#[derive(Debug, Clone, Default)]
pub(crate) struct GenerationRequest {
    pub(crate) prompt: Vec<u32>,
    pub(crate) plan: Plan,
    pub(crate) sampling: Sampling,
    /// Strings that end the text; none of them is empty.
    pub(crate) stop: Vec<String>,
    /// True if special tokens are left out of the text.
    pub(crate) skips_special: bool,
    /// True if the request differs from the one before it only in its seed, so that it need not be
    /// checked again.
    pub(crate) copy: bool,
}

/// An event of a generation.
///
/// The order is `Started`, any number of `Token`s, `End`. A generation that ends before its prompt
/// has been run sends only `End`.
#[derive(Debug)]
pub(crate) enum Event {
    Started {
        /// Prompt tokens taken from the prefix cache.
        reused: usize,
        prompt_features: BTreeMap<HookPoint, SparseFeatures>,
    },
    Token {
        step: Step,
        /// The text that can be shown now. It excludes stop strings, and text that may turn out to
        /// be the beginning of one.
        text: String,
    },
    End {
        /// Text that was held back as a possible stop string, and was not one.
        text: String,
        why: End,
        applied: Vec<InterventionReport>,
        /// The mean negative log-likelihood of the text under the unsteered model, in nats per token;
        /// `None` without a token.
        nll: Option<f64>,
    },
}

/// The reason a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    Model(EndReason),
    /// The text contains one of [`GenerationRequest::stop`].
    StopString,
    /// The generation, including its wait in the queue, took longer than
    /// [`Limits::request_timeout`](crate::Limits::request_timeout).
    TimeOut,
    ShuttingDown,
    /// The client has not read too much of its answers.
    Unread,
    /// This generation, or another one in its batch, hit an internal error.
    Failed,
}

impl End {
    /// The error that the end is, for a client that has received text or not: a text that could not
    /// begin is an error, and so is one that the model could not compute.
    pub(crate) fn error(&self, has_text: bool) -> Option<ApiError> {
        match self {
            Self::Failed => Some(ApiError::internal()),
            Self::Model(EndReason::NotFinite(found)) => {
                Some(ApiError::not_finite(format!("{found}; reduce the steering strength")))
            }
            Self::ShuttingDown if !has_text => Some(ApiError::shutting_down()),
            Self::TimeOut if !has_text => Some(ApiError::timed_out()),
            Self::Unread if !has_text => Some(ApiError::unread()),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(reason) => reason.fmt(f),
            Self::StopString => f.write_str("stop_string"),
            Self::TimeOut => f.write_str("time_out"),
            Self::ShuttingDown => f.write_str("shutting_down"),
            Self::Unread => f.write_str("unread"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

impl Event {
    /// About the number of bytes that the event takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        /// An index and a value.
        const PAIR: usize = 8;

        let of_features = |features: &BTreeMap<HookPoint, SparseFeatures>| {
            features.values().map(|f| size_of::<SparseFeatures>() + f.nnz() * PAIR).sum::<usize>()
        };
        let inner = match self {
            Self::Started { prompt_features, .. } => of_features(prompt_features),
            Self::Token { step, text } => {
                let steered: usize = step.steered_features.values().map(Vec::len).sum();
                let pairs = steered + step.top_logprobs.len();
                text.len() + step.text.len() + of_features(&step.features) + pairs * PAIR
            }
            Self::End { text, applied, .. } => {
                text.len() + applied.len() * size_of::<InterventionReport>()
            }
        };
        size_of::<Self>() + inner
    }
}

/// A handle to a waiting or running generation. Dropping it frees the generation's row within one
/// step.
#[derive(Debug)]
pub(crate) struct GenerationHandle {
    // The events are counted as unread bytes, of which a client has a bounded number, so the channel needs
    // no bound, and a client that does not read cannot block the worker.
    events: mpsc::UnboundedReceiver<(Event, Held)>,
    /// Events that were received and not taken yet.
    received: VecDeque<(Event, Held)>,
    /// True once the end was received.
    ended: bool,
    /// The bytes of taken events, if they still count as unread.
    taken: Option<Held>,
    counts_taken: bool,
}

impl GenerationHandle {
    /// Wraps the events of a generation.
    pub(crate) fn new(events: mpsc::UnboundedReceiver<(Event, Held)>) -> Self {
        Self { events, received: VecDeque::new(), ended: false, taken: None, counts_taken: false }
    }

    /// Counts events as unread until the handle is dropped, because the answer is sent at its end.
    pub(crate) fn count_until_dropped(&mut self) {
        self.counts_taken = true;
    }

    /// Waits for the next event; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let received = match self.received.pop_front() {
            Some(received) => Some(received),
            None => self.events.recv().await,
        };
        let Some((event, held)) = received else {
            // The worker always sends an end, unless it failed.
            let why = End::Failed;
            let end = Event::End { text: String::new(), why, applied: Vec::new(), nll: None };
            return (!std::mem::replace(&mut self.ended, true)).then_some(end);
        };
        self.ended |= matches!(event, Event::End { .. });
        match &mut self.taken {
            _ if !self.counts_taken => {}
            Some(taken) => taken.merge(held),
            none => *none = Some(held),
        }
        Some(event)
    }

    /// Waits until there is a token, and returns the error if the text ended without one for a reason
    /// that is not the model's. No event is taken.
    pub(crate) async fn begin(&mut self) -> Result<(), ApiError> {
        while let Some((event, held)) = self.events.recv().await {
            let begun = match &event {
                Event::Started { .. } => None,
                Event::Token { .. } => Some(Ok(())),
                Event::End { why, .. } => Some(why.error(false).map_or(Ok(()), Err)),
            };
            self.received.push_back((event, held));
            if let Some(begun) = begun {
                return begun;
            }
        }
        // The worker failed.
        Err(ApiError::internal())
    }
}
