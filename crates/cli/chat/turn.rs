//! A prompt and the texts generated from it.

use std::collections::BTreeMap;
use std::time::Duration;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, Fluency, InterventionReport, Sampling};
use nanoscope_sae::SparseFeatures;
use serde_json::{Value, json};

use super::mode::Mode;
use crate::commands::unsteered::own_nll;
use crate::terminal::applied;
use crate::terminal::display::sanitized;
use crate::terminal::export::TokenEntry;
use crate::terminal::feature_name::Naming;
use nanoscope_runtime::Plan;

/// One prompt and its texts.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) mode: Mode,
    /// The prompt as typed.
    pub(crate) typed: String,
    /// The ids of the whole prompt, and how many of them are from earlier turns.
    pub(crate) ids: Vec<u32>,
    pub(crate) before: usize,
    pub(crate) sampling: Sampling,
    pub(crate) plan: Plan,
    /// The text; in a comparison the unsteered text, then the steered one.
    pub(crate) variants: Vec<Variant>,
    pub(crate) state: State,
    /// True if a later turn replaces this one in the conversation.
    pub(crate) superseded: bool,
}

/// The state of a turn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Running,
    Done,
    Stopped,
    Failed(String),
}

/// One text of a turn.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) is_steered: bool,
    /// The tokens the user added to the prompt in this turn, then the generated ones.
    pub(crate) tokens: Vec<Token>,
    pub(crate) end: Option<EndReason>,
    pub(crate) applied: Vec<InterventionReport>,
    /// The fluency of a steered text that was not stopped.
    pub(crate) fluency: Option<Fluency>,
    /// The time the generated tokens took, without the prompt.
    pub(crate) took: Duration,
}

/// A token with its features.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) position: usize,
    pub(crate) id: u32,
    /// The text completed by this token.
    pub(crate) text: String,
    /// The text of the token alone, in which incomplete characters are escaped.
    pub(crate) name: String,
    /// The log probability of a generated token; none for the prompt.
    pub(crate) logprob: Option<f32>,
    /// One row of features for each tracked hook point, before the interventions there.
    pub(crate) features: BTreeMap<HookPoint, SparseFeatures>,
    /// The values of steered features after the interventions.
    pub(crate) steered: BTreeMap<HookPoint, Vec<(u32, f32)>>,
}

impl Token {
    pub(crate) fn is_generated(&self) -> bool {
        self.logprob.is_some()
    }

    /// The activation of a feature, after the interventions; none if its SAE is not tracked.
    pub(crate) fn value(&self, (hook, feature): (HookPoint, u32)) -> Option<f32> {
        let steered = self.steered.get(&hook).into_iter().flatten();
        if let Some(&(_, value)) = steered.into_iter().find(|(steered, _)| *steered == feature) {
            return Some(value);
        }
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
            fluency: None,
            took: Duration::ZERO,
        }
    }

    /// The mean negative log-likelihood of the text under the model that generated it.
    pub(crate) fn own_nll(&self) -> Option<f64> {
        let logprobs: Vec<f32> = self.generated().filter_map(|token| token.logprob).collect();
        own_nll(&logprobs)
    }

    /// The reports of the interventions and the fluency, a line each.
    pub(crate) fn report(&self) -> impl Iterator<Item = String> + '_ {
        let fluency = self.fluency.iter().map(applied::fluency_line);
        self.applied.iter().map(applied::line).chain(fluency)
    }

    pub(crate) fn generated(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| token.is_generated())
    }

    /// The generated text without control characters.
    pub(crate) fn text(&self) -> String {
        self.generated().map(|token| sanitized(&token.text)).collect()
    }

    /// The speed in tokens per second; none for fewer than two tokens.
    pub(crate) fn speed(&self) -> Option<f64> {
        let tokens = self.generated().count();
        (tokens > 1 && !self.took.is_zero()).then(|| tokens as f64 / self.took.as_secs_f64())
    }

    fn json(&self, names: &dyn Naming) -> Value {
        let token = |token: &Token| {
            let entry = TokenEntry {
                position: token.position,
                token_id: token.id,
                token: &token.text,
                logprob: token.logprob,
                features: &token.features,
                row: 0,
            };
            entry.to_json(None, names)
        };
        json!({
            "steered": self.is_steered,
            "text": self.generated().map(|token| token.text.as_str()).collect::<String>(),
            "end": self.end.map(|end| end.to_string()),
            "applied": self.applied.iter().map(applied::json).collect::<Vec<_>>(),
            "fluency": self.fluency.as_ref().map(applied::fluency_json),
            "tokens": self.tokens.iter().map(token).collect::<Vec<_>>(),
        })
    }
}

impl Turn {
    /// The text that later prompts continue: the steered one if there are two.
    pub(crate) fn last_variant(&self) -> &Variant {
        self.variants.last().expect("a turn has at least one text")
    }

    /// The ids of the prompt and the generated ids.
    pub(crate) fn all_ids(&self) -> Vec<u32> {
        let generated = self.last_variant().generated().map(|token| token.id);
        self.ids.iter().copied().chain(generated).collect()
    }

    /// The ids that this turn added to the conversation.
    pub(crate) fn own_ids(&self) -> Vec<u32> {
        self.all_ids().split_off(self.before.min(self.ids.len()))
    }

    /// The turn as JSON: everything needed to reproduce it, and its texts.
    pub(crate) fn json(&self, names: &dyn Naming) -> Value {
        let Sampling { temperature, top_k, top_p, seed, max_tokens, .. } = &self.sampling;
        json!({
            "mode": self.mode.to_string(),
            "prompt": self.typed,
            "prompt_ids": self.ids,
            "seed": seed,
            "sampling": {
                "temperature": decimal(*temperature),
                "top_k": top_k,
                "top_p": top_p.map(decimal),
                "max_tokens": max_tokens,
            },
            "track": self.plan.track.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "steer": self.plan.interventions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "stop_when": self.plan.stop_when.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "texts": self.variants.iter().map(|variant| variant.json(names)).collect::<Vec<_>>(),
        })
    }
}

/// `value` as typed: 0.7 instead of the nearest float32.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a formatted number parses")
}
