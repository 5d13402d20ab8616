//! The unsteered text beside a steered one.

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_runtime::{Fluency, Plan, Sampling};

use crate::terminal::progress::with_spinner;

/// A text, its tokens, and their log probabilities.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    logprobs: Vec<f32>,
}

impl Written {
    pub(crate) fn push(&mut self, text: &str, token: u32, logprob: f32) {
        self.text.push_str(text);
        self.tokens.push(token);
        self.logprobs.push(logprob);
    }
}

/// The mean negative log-likelihood of a text under the model that wrote it, with these log probabilities of its
/// tokens; `None` without a token.
pub(crate) fn own_nll(logprobs: &[f32]) -> Option<f64> {
    let sum: f64 = logprobs.iter().copied().map(f64::from).sum();
    (!logprobs.is_empty()).then(|| -sum / logprobs.len() as f64)
}

/// Writes the text that `plan` without its interventions gives with the same prompt and sampling.
pub(crate) fn unsteered(
    scope: &Microscope,
    prompt: &[u32],
    plan: &Plan,
    sampling: &Sampling,
) -> Result<Written> {
    // Nothing is tracked, unless a condition ends the text.
    let mut unsteered = Plan::new();
    unsteered.stop_when.clone_from(&plan.stop_when);
    with_spinner("writing the unsteered text", || {
        let mut written = Written::default();
        for step in scope.model().generate(prompt, &unsteered, sampling)? {
            written.push(&step.text, step.token_id, step.logprob);
        }
        Ok(written)
    })
}

/// The fluency of a steered text after `prompt`; `None` if nothing was written.
pub(crate) fn fluency(
    scope: &Microscope,
    prompt: &[u32],
    steered: &Written,
    unsteered: &Written,
) -> Result<Option<Fluency>> {
    let tokens: Vec<u32> = prompt.iter().chain(&steered.tokens).copied().collect();
    let nll = scope.model().mean_nll(&tokens, prompt.len())?;
    Ok(nll.map(|nll| Fluency { nll, unsteered_nll: own_nll(&unsteered.logprobs) }))
}
