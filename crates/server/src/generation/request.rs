//! Generation requests, and the events that a generation sends back.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, InterventionReport, Plan, Sampling, Step};
use nanoscope_sae::SparseFeatures;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::error::ApiError;

/// A request to generate one text.
#[derive(Debug, Clone, Default)]
pub(crate) struct GenerationRequest {
    pub(crate) prompt: Vec<u32>,
    pub(crate) plan: Plan,
    pub(crate) sampling: Sampling,
    /// Strings that end the text; none of them is empty.
    pub(crate) stop: Vec<String>,
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
            Self::Failed => f.write_str("failed"),
        }
    }
}

/// A handle to a waiting or running generation. Dropping it frees the generation's row within one
/// step.
#[derive(Debug)]
pub(crate) struct GenerationHandle {
    /// Shared with the worker: the place is free once the generation has ended and its events have
    /// been read or dropped. Declared before `events` so that it is dropped first, and whoever sees
    /// the end of the events finds the place free.
    _place: Arc<OwnedSemaphorePermit>,
    // The number of events is bounded by the number of tokens, so the channel needs no bound, and a
    // client that does not read cannot block the worker.
    events: mpsc::UnboundedReceiver<Event>,
    /// Events that were received and not taken yet.
    received: VecDeque<Event>,
}

impl GenerationHandle {
    /// Wraps the events of the generation that occupies `place`.
    pub(crate) fn new(
        place: Arc<OwnedSemaphorePermit>,
        events: mpsc::UnboundedReceiver<Event>,
    ) -> Self {
        Self { _place: place, events, received: VecDeque::new() }
    }

    /// Waits for the next event; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        match self.received.pop_front() {
            Some(event) => Some(event),
            None => self.events.recv().await,
        }
    }

    /// Waits until there is a token, and returns the error if the text ended without one for a reason
    /// that is not the model's. No event is taken.
    pub(crate) async fn begin(&mut self) -> Result<(), ApiError> {
        while let Some(event) = self.events.recv().await {
            let begun = match &event {
                Event::Started { .. } => None,
                Event::Token { .. } => Some(Ok(())),
                Event::End { why, .. } => Some(why.error(false).map_or(Ok(()), Err)),
            };
            self.received.push_back(event);
            if let Some(begun) = begun {
                return begun;
            }
        }
        Ok(())
    }
}
