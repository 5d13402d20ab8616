//! What the worker is asked for, and what it tells.

use std::time::Duration;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Applied, EndReason, Sampling};

use super::turn::Token;
use crate::load::PlanParts;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Job {
    /// A text for each plan, all from the same prompt and seed.
    Write { prompt: Prompt, plans: Vec<PlanParts>, sampling: Sampling },
    /// A feature's page, in lines of so many cells.
    Page { hook: HookPoint, feature: usize, cells: usize },
}

/// What a text goes on from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Prompt {
    /// A beginning.
    Story(String),
    /// A story so far, and what is put after it.
    More { before: Vec<u32>, text: String },
    /// The messages and answers so far, and the user's next message.
    Chat { before: Vec<Vec<u32>>, text: String },
    /// The same ids once more; the first `before` of them were there already.
    Again { ids: Vec<u32>, before: usize },
}

/// What a job gives, in this order.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// The prompt's ids, how many of them were there before, and how many messages were left out
    /// because the context would not hold them.
    Begun {
        ids: Vec<u32>,
        before: usize,
        forgotten: usize,
    },
    /// The tokens of the prompt that are new, for the `variant`-th text.
    Prompt {
        variant: usize,
        tokens: Vec<Token>,
    },
    Token {
        variant: usize,
        token: Token,
        took: Duration,
    },
    End {
        variant: usize,
        end: Option<EndReason>,
        applied: Vec<Applied>,
    },
    Page(String),
    /// The job is done; nothing comes after.
    Done {
        stopped: bool,
    },
    /// The job is done, and this is why it did not succeed.
    Failed(String),
}
