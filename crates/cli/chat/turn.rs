//! What was asked and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use nanoscope_checkpoint::Labels;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, InterventionReport, Sampling};
use nanoscope_sae::SparseFeatures;
use serde_json::{Value, json};

use super::mode::Mode;
use crate::load::PlanParts;
use crate::terminal::applied;
use crate::terminal::display::sanitized;
use crate::terminal::export::TokenEntry;

/// One prompt and its texts.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) mode: Mode,
    /// What was typed.
    pub(crate) asked: String,
    /// The ids of the whole prompt, and how many of them were there before this turn.
    pub(crate) ids: Vec<u32>,
    pub(crate) before: usize,
    pub(crate) sampling: Sampling,
    pub(crate) parts: PlanParts,
    /// The steered one, or one without steering; before it that without, if both are wanted.
    pub(crate) variants: Vec<Variant>,
    pub(crate) state: State,
    /// Whether a later turn took this one's place in the conversation.
    pub(crate) superseded: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Running,
    Done,
    Stopped,
    Failed(String),
}

/// One text.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) is_steered: bool,
    /// Those of the prompt that this turn added and a person wrote, then the generated ones.
    pub(crate) tokens: Vec<Token>,
    pub(crate) end: Option<EndReason>,
    pub(crate) applied: Vec<InterventionReport>,
    /// What the generated tokens took, the prompt not counted.
    pub(crate) took: Duration,
}

/// One token, and what fires on it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) position: usize,
    pub(crate) id: u32,
    /// The text that is complete with it.
    pub(crate) text: String,
    /// The token alone; bytes of a character in pieces are shown as such.
    pub(crate) name: String,
    /// What the model gave it; none of the prompt's.
    pub(crate) logprob: Option<f32>,
    /// Per tracked hook point, one row.
    pub(crate) features: BTreeMap<HookPoint, SparseFeatures>,
}

impl Token {
    pub(crate) fn is_generated(&self) -> bool {
        self.logprob.is_some()
    }

    /// The value of a feature; none where its SAE is not tracked.
    pub(crate) fn value(&self, (hook, feature): (HookPoint, u32)) -> Option<f32> {
        let features = self.features.get(&hook)?;
        ((feature as usize) < features.d_sae()).then(|| features.get(0, feature))
    }
}

impl Variant {
    pub(crate) fn new(is_steered: bool) -> Self {
        Self {
            is_steered,
            tokens: Vec::new(),
            end: None,
            applied: Vec::new(),
            took: Duration::ZERO,
        }
    }

    pub(crate) fn generated(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| token.is_generated())
    }

    /// The generated text, without what a terminal would act on.
    pub(crate) fn text(&self) -> String {
        self.generated().map(|token| sanitized(&token.text)).collect()
    }

    /// Tokens per second; none before there are two.
    pub(crate) fn speed(&self) -> Option<f64> {
        let tokens = self.generated().count();
        (tokens > 1 && !self.took.is_zero()).then(|| tokens as f64 / self.took.as_secs_f64())
    }

    fn json(&self, labels: &BTreeMap<HookPoint, Labels>) -> Value {
        let token = |token: &Token| {
            let entry = TokenEntry {
                position: token.position,
                token_id: token.id,
                token: &token.text,
                logprob: token.logprob,
                features: &token.features,
                row: 0,
            };
            entry.to_json(None, labels)
        };
        json!({
            "steered": self.is_steered,
            "text": self.generated().map(|token| token.text.as_str()).collect::<String>(),
            "end": self.end.map(|end| end.to_string()),
            "applied": self.applied.iter().map(applied::json).collect::<Vec<_>>(),
            "tokens": self.tokens.iter().map(token).collect::<Vec<_>>(),
        })
    }
}

impl Turn {
    /// The text that a further one goes on from: the steered one if there are two.
    pub(crate) fn last_variant(&self) -> &Variant {
        self.variants.last().expect("a turn has a text at least")
    }

    /// The prompt's ids and those that were generated.
    pub(crate) fn all_ids(&self) -> Vec<u32> {
        let generated = self.last_variant().generated().map(|token| token.id);
        self.ids.iter().copied().chain(generated).collect()
    }

    /// The ids that the turn added to a conversation.
    pub(crate) fn own_ids(&self) -> Vec<u32> {
        self.all_ids().split_off(self.before.min(self.ids.len()))
    }

    /// The run for another program: all that gives it again, and what it gave.
    pub(crate) fn json(&self, labels: &BTreeMap<HookPoint, Labels>) -> Value {
        let Sampling { temperature, top_k, top_p, seed, max_tokens, .. } = &self.sampling;
        json!({
            "mode": self.mode.to_string(),
            "prompt": self.asked,
            "prompt_ids": self.ids,
            "seed": seed,
            "sampling": {
                "temperature": decimal(*temperature),
                "top_k": top_k,
                "top_p": top_p.map(decimal),
                "max_tokens": max_tokens,
            },
            "track": self.parts.track.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "steer": self.parts.steer.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "stop_when": self.parts.stop_when.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "texts": self.variants.iter().map(|variant| variant.json(labels)).collect::<Vec<_>>(),
        })
    }
}

/// The number as a person wrote it: 0.7, and not the float32 next to it.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a number that was just written reads back")
}
