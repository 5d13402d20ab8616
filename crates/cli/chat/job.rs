//! The messages to and from the worker.

use std::time::Duration;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, InterventionReport, Sampling};

use super::turn::Token;
use nanoscope_runtime::Plan;

/// A job for the worker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Job {
    /// Generates a text for each plan, all from the same prompt and seed. With `special_tokens`,
    /// special tokens in the text of a story are read as tokens.
    Write { prompt: Prompt, plans: Vec<Plan>, sampling: Sampling, special_tokens: bool },
    /// Formats the page of a feature, in lines of `cells`.
    Page { hook: HookPoint, feature: usize, cells: usize },
    /// Explains the last of `tokens`, in lines of `cells`; it was written under steering or not.
    Why { tokens: Vec<u32>, is_steered: bool, cells: usize },
    /// Lists the features that a word finds, in lines of `cells`.
    Find { word: String, cells: usize },
}

/// The prompt of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Prompt {
    /// The beginning of a story.
    Story(String),
    /// A story so far, and the text to append to it.
    More { before: Vec<u32>, text: String },
    /// The tokens of the turns so far, and the next user message.
    Chat { before: Vec<Vec<u32>>, text: String },
    /// An earlier prompt; the first `before` ids are from earlier turns.
    Again { ids: Vec<u32>, before: usize },
}

/// The events of a job, in this order.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// The generation has begun. Of the prompt's `ids`, the first `before` are from earlier turns;
    /// the first `forgotten` messages were left out because the context is full. The special tokens
    /// in `spelled` were read as plain text.
    Begun { ids: Vec<u32>, before: usize, forgotten: usize, spelled: Vec<String> },
    /// The new tokens of the prompt, for the variant with this index.
    Prompt { variant: usize, tokens: Vec<Token> },
    /// A generated token, and the time since the prompt was done.
    Token { variant: usize, token: Token, took: Duration },
    /// The end of a variant, with the mean negative log-likelihood of a steered one under the unsteered model.
    End {
        variant: usize,
        end: Option<EndReason>,
        applied: Vec<InterventionReport>,
        nll: Option<f64>,
    },
    /// The page of a feature, a list of features, or the causes of a token.
    Page(String),
    /// The job is done. This is its last event.
    Done { stopped: bool },
    /// The job failed for this reason. This is its last event.
    Failed(String),
}
