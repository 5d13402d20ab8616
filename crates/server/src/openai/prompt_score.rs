//! The log probabilities of a prompt's tokens.

use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_runtime::{InterventionReport, Plan};
use nanoscope_sae::SparseFeatures;
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::TokenBatch;

use crate::error::ApiError;
use crate::served_model::ServedModel;

/// A prompt that was run by itself.
#[derive(Debug)]
pub(crate) struct PromptScore {
    /// One element for each token.
    pub(crate) tokens: Vec<ScoredToken>,
    /// The special tokens, as they would follow the prompt.
    specials: Vec<ScoredToken>,
    pub(crate) features: BTreeMap<HookPoint, SparseFeatures>,
    pub(crate) applied: Vec<InterventionReport>,
}

/// A token with the model's log probability for it, given the tokens before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScoredToken {
    pub(crate) id: u32,
    /// `None` for the first token, which nothing predicts.
    pub(crate) logprob: Option<f32>,
    /// The most likely tokens at its position with their log probabilities, most likely first.
    pub(crate) top: Vec<(u32, f32)>,
}

impl PromptScore {
    /// Runs `ids` and keeps the `top` most likely tokens at each position.
    ///
    /// # Errors
    /// 400 if the plan cannot be followed, a token is outside the vocabulary, or the logits are not
    /// finite.
    pub(crate) fn run(
        served: &ServedModel,
        ids: Vec<u32>,
        plan: &Plan,
        top: usize,
    ) -> Result<Self, ApiError> {
        let batch =
            TokenBatch::new(std::slice::from_ref(&ids)).map_err(|e| ApiError::from_error(&e))?;
        let run = served.model.run(&batch, plan).map_err(|error| ApiError::from(&error))?;
        let [_, _, vocab] = run.logits.dims();
        let logits = to_host(run.logits);
        let mut tokens = vec![ScoredToken { id: ids[0], logprob: None, top: Vec::new() }];
        let mut rows = logits.chunks_exact(vocab);
        for (&id, row) in ids[1..].iter().zip(&mut rows) {
            tokens.push(ScoredToken::new(id, row, top)?);
        }
        let last = rows.next().expect("there is a row for each token");
        let special = served.model.tokenizer().map_or(&[][..], Tokenizer::special_tokens);
        let specials = special.iter().map(|&(_, id)| ScoredToken::new(id, last, top));
        Ok(Self {
            tokens,
            specials: specials.collect::<Result<_, _>>()?,
            features: run.features,
            applied: run.applied,
        })
    }

    /// The special token `id`, as it would follow the prompt.
    pub(crate) fn special(&self, id: u32) -> Option<&ScoredToken> {
        self.specials.iter().find(|token| token.id == id)
    }

    /// The number of characters of `opening` before each token.
    pub(crate) fn offsets(&self, tokenizer: &Tokenizer, opening: &str) -> Vec<usize> {
        let mut stream = tokenizer.stream();
        let mut lengths: Vec<usize> = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            lengths.push(stream.push(token.id).map_or(0, |text| text.chars().count()));
        }
        let held_back = stream.finish().chars().count();
        // The text of a `<|bos|>` that was prepended is not in the opening.
        let total = lengths.iter().sum::<usize>() + held_back;
        let excess = total.saturating_sub(opening.chars().count());
        if let Some(first) = lengths.first_mut() {
            *first = first.saturating_sub(excess);
        }
        let before = |offset: &mut usize, length: usize| {
            let before = *offset;
            *offset += length;
            Some(before)
        };
        lengths.into_iter().scan(0, before).collect()
    }
}

impl ScoredToken {
    /// The token `id` at a position with these logits.
    fn new(id: u32, logits: &[f32], top: usize) -> Result<Self, ApiError> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from((logit - max).exp())).sum();
        let log_sum = sum.ln();
        let logprob = |logit: f32| (f64::from(logit - max) - log_sum) as f32;
        if !(max.is_finite() && log_sum.is_finite()) {
            return Err(ApiError::not_finite("the logits of the prompt are not finite"));
        }
        let mut likeliest: Vec<u32> = (0..logits.len() as u32).collect();
        let order =
            |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let top = top.min(logits.len());
        if top < likeliest.len() {
            likeliest.select_nth_unstable_by(top, order);
            likeliest.truncate(top);
        }
        likeliest.sort_unstable_by(order);
        let top = likeliest.into_iter().map(|id| (id, logprob(logits[id as usize]))).collect();
        Ok(Self { id, logprob: Some(logprob(logits[id as usize])), top })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_logprob_and_the_likeliest_ones() {
        let logits = [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln);

        let token = ScoredToken::new(2, &logits, 2).unwrap();

        let close = |found: f32, expected: f32| (found - expected.ln()).abs() < 1e-6;
        assert!(close(token.logprob.unwrap(), 0.15), "{token:?}");
        assert_eq!([token.top[0].0, token.top[1].0], [0, 1]);
        assert!(close(token.top[0].1, 0.5) && close(token.top[1].1, 0.3), "{token:?}");
        assert_eq!(ScoredToken::new(0, &logits, 9).unwrap().top.len(), 4);
        for wrong in [f32::NAN, f32::INFINITY] {
            assert!(ScoredToken::new(0, &[0.0, wrong], 1).is_err(), "{wrong}");
        }
    }
}
