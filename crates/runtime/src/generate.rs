use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;
use nanoscope_tokenizer::{ASSISTANT_END, BOS, StreamDecoder};
use nanoscope_transformer::{KvCache, Logits, TokenBatch};

use crate::check::CheckedPlan;
use crate::condition::Condition;
use crate::context::Context;
use crate::error::RuntimeError;
use crate::model::InterpretableModel;
use crate::plan::Plan;
use crate::report::{Applied, Report};
use crate::router::{PassOutput, PlanRouter};
use crate::sampling::{Sampler, Sampling};

/// A text being generated; an iterator over its tokens.
///
/// nanochat's greedy generation is reproduced token for token. A generation ends after
/// [`Sampling::max_tokens`], at a token that ends a text (`<|assistant_end|>` or `<|bos|>`, which is
/// not given out), after a token at which a condition of [`Plan::stop_when`] holds, or when the
/// context is full; [`end`](Self::end) says which.
#[derive(Debug)]
pub struct Generation<'m> {
    model: &'m InterpretableModel,
    plan: CheckedPlan<'m>,
    report: Report,
    cache: KvCache,
    sampler: Sampler,
    decoder: Option<StreamDecoder<'m>>,
    prompt_len: usize,
    prompt_features: BTreeMap<HookPoint, SparseFeatures>,
    /// Of the position after the last one run.
    logits: Vec<f32>,
    produced: usize,
    max_tokens: usize,
    end: Option<EndReason>,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its position in the sequence, the prompt included.
    pub position: usize,
    /// Its id.
    pub token: u32,
    /// The text that is complete with it. Bytes of a character that is not complete yet come with
    /// the token that completes it; empty without a tokenizer.
    pub text: String,
    /// Natural logarithm of the probability that the model gave it, before temperature, top-k and
    /// top-p.
    pub logprob: f32,
    /// Per tracked hook point, one row: the features at the token's own position.
    pub features: BTreeMap<HookPoint, SparseFeatures>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EndReason {
    /// As many tokens were generated as were asked for.
    MaxTokens,
    /// The model ended its text with this token.
    Stop {
        /// The token, which was not given out.
        token: u32,
    },
    /// A condition of [`Plan::stop_when`] held at the last token given out.
    Condition {
        /// The condition; of several the first of the plan.
        condition: Condition,
        /// The feature's value there.
        value: f32,
    },
    /// The context holds no more positions.
    ContextFull {
        /// The positions that it holds.
        capacity: usize,
    },
    /// The logits are not numbers, so there is no likeliest token: a weight is not finite, or a
    /// steered activation has left the range of float32.
    NotFinite,
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MaxTokens => f.write_str("max_tokens"),
            Self::Stop { .. } => f.write_str("stop"),
            Self::Condition { .. } => f.write_str("stop_when"),
            Self::ContextFull { .. } => f.write_str("context_full"),
            Self::NotFinite => f.write_str("not_finite"),
        }
    }
}

impl<'m> Generation<'m> {
    pub(crate) fn start(
        model: &'m InterpretableModel,
        prompt: &[u32],
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Self, RuntimeError> {
        sampling.check()?;
        if let Some(&hook) = plan.capture.first() {
            return Err(RuntimeError::CaptureInGeneration { hook });
        }
        let plan = plan.check(model)?;
        let tokens = TokenBatch::new(&[prompt.to_vec()])?;
        let capacity = model.context_len();
        if prompt.len() > capacity {
            return Err(RuntimeError::PromptTooLong { found: prompt.len(), capacity });
        }
        let context = Context::new(&tokens, 0, prompt.len(), |id| model.is_special(id));
        let more = sampling.max_tokens.min(capacity - prompt.len());
        for intervention in &plan.interventions {
            context.check(intervention, more)?;
        }

        let mut generation = Self {
            model,
            report: Report::new(plan.interventions.len()),
            plan,
            // No more than can be used: a config may claim any context.
            cache: model.gpt().cache(1, prompt.len() + more),
            sampler: Sampler::new(sampling.clone()),
            decoder: model.tokenizer().map(|tokenizer| tokenizer.stream()),
            prompt_len: prompt.len(),
            prompt_features: BTreeMap::new(),
            logits: Vec::new(),
            produced: 0,
            max_tokens: sampling.max_tokens,
            end: None,
        };
        generation.prompt_features = generation.run(&tokens, &context)?.features;
        Ok(generation)
    }

    /// Per tracked hook point, the features of the prompt, a row for each token.
    pub fn prompt_features(&self) -> &BTreeMap<HookPoint, SparseFeatures> {
        &self.prompt_features
    }

    /// Why the generation ended; none while it goes on.
    pub fn end(&self) -> Option<EndReason> {
        self.end
    }

    /// Per intervention of the plan, in its order, where it was applied so far, prompt included.
    pub fn applied(&self) -> Vec<Applied> {
        self.report.applied(&self.plan.interventions)
    }

    /// Runs `tokens` after those before, and keeps the logits of the last one.
    fn run(&mut self, tokens: &TokenBatch, context: &Context) -> Result<PassOutput, RuntimeError> {
        let mut router = PlanRouter::new(&self.plan, context, &mut self.report);
        let gpt = self.model.gpt();
        let logits = gpt.forward_cached(tokens, &mut self.cache, Logits::Last, &mut router)?;
        self.logits = to_host(logits);
        router.finish()
    }

    fn ends_text(&self, token: u32) -> bool {
        let ends = |name| self.model.tokenizer().and_then(|t| t.special(name)) == Some(token);
        ends(ASSISTANT_END) || ends(BOS)
    }

    /// What comes next: a token, or the end.
    fn advance(&mut self) -> Result<Step, EndReason> {
        if self.produced == self.max_tokens {
            return Err(EndReason::MaxTokens);
        }
        let position = self.cache.len();
        let capacity = self.cache.capacity();
        if position == capacity {
            return Err(EndReason::ContextFull { capacity });
        }
        let choice = self.sampler.choose(&self.logits);
        let token = choice.token;
        if !choice.logprob.is_finite() {
            return Err(EndReason::NotFinite);
        }
        if self.ends_text(token) {
            return Err(EndReason::Stop { token });
        }
        self.produced += 1;
        // The last token's own pass would only give logits that nobody reads.
        let asked = !self.plan.readers.is_empty() || !self.plan.sites.is_empty();
        let features = if asked || self.produced < self.max_tokens {
            let tokens = TokenBatch::new(&[vec![token]]).expect("one token makes a batch");
            let context =
                Context::new(&tokens, position, self.prompt_len, |id| self.model.is_special(id));
            let output = self.run(&tokens, &context);
            let output =
                output.expect("a sampled token is in the vocabulary, and there is room for it");
            self.end =
                output.stop.map(|(condition, value)| EndReason::Condition { condition, value });
            output.features
        } else {
            BTreeMap::new()
        };
        let mut text = self.decoder.as_mut().map_or_else(String::new, |decoder| {
            decoder.push(token).expect("the tokenizer has as many tokens as the model")
        });
        if self.end.is_some() || self.produced == self.max_tokens || position + 1 == capacity {
            // Nothing will complete what is left of a character.
            text.push_str(&self.decoder.take().map_or_else(String::new, StreamDecoder::finish));
        }
        Ok(Step { position, token, text, logprob: choice.logprob, features })
    }
}

impl Iterator for Generation<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.end.is_some() {
            return None;
        }
        match self.advance() {
            Ok(step) => Some(step),
            Err(reason) => {
                self.end = Some(reason);
                None
            }
        }
    }
}

fn to_host(logits: Tensor<3>) -> Vec<f32> {
    logits.into_data().iter::<f32>().collect()
}
