//! The unsteered text beside a steered one.

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_runtime::{Fluency, Plan, Sampling};

use crate::terminal::progress::with_spinner;

/// A text, its tokens, and the sum of their log probabilities.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    logprobs: f64,
}

impl Written {
    pub(crate) fn push(&mut self, text: &str, token: u32, logprob: f32) {
        self.text.push_str(text);
        self.tokens.push(token);
        self.logprobs += f64::from(logprob);
    }

    /// The mean negative log-likelihood under the model that wrote it.
    fn own_nll(&self) -> Option<f64> {
        (!self.tokens.is_empty()).then(|| -self.logprobs / self.tokens.len() as f64)
    }
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
    Ok(nll.map(|nll| Fluency { nll, unsteered_nll: unsteered.own_nll() }))
}
