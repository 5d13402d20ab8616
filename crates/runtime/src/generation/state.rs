use std::collections::BTreeMap;
use std::ops::Range;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;
use nanoscope_tokenizer::StreamDecoder;
use nanoscope_transformer::{KvCache, TokenBatch};
use sha2::{Digest as _, Sha256};

use crate::error::RuntimeError;
use crate::generation::outcome::{Step, StepOutcome};
use crate::generation::prefix_cache::{CachedPiece, Digest, Id, PrefixCache};
use crate::generation::sampling::{Choice, Sampler, Sampling};
use crate::model::InterpretableModel;
use crate::pass::checked_plan::CheckedPlan;
use crate::pass::non_finite::{NonFinite, NonFiniteAt};
use crate::pass::plan_pass::{PassOutput, SteeredFeature};
use crate::pass::probe::first_non_finite;
use crate::pass::report::{InterventionReport, ReportBuilder};
use crate::pass::token_positions::TokenPositions;
use crate::steering::{Condition, Plan, PositionRange, Target};

/// Prompts are run in pieces that end at multiples of this, so that a piece gives the same numbers
/// in every prompt that contains it at the same position. Products with fewer rows are slower, and longer pieces are
/// reused less often.
const PIECE_TOKENS: usize = 128;

/// An in-progress generation. Iterate to get one token at a time.
///
/// Greedy generation reproduces nanochat's token for token. A generation ends after
/// [`Sampling::max_tokens`], at a token that
/// [ends a text](nanoscope_tokenizer::Tokenizer::ends_text) (which is not returned), after a token at which a condition of [`Plan::stop_when`] holds, or when the context is full;
/// [`end`](Self::end) returns the reason.
#[derive(Debug)]
pub struct Generation<'m> {
    pub(super) model: &'m InterpretableModel,
    pub(super) plan: CheckedPlan<'m>,
    pub(super) report: ReportBuilder,
    pub(super) cache: KvCache,
    sampler: Sampler,
    decoder: Option<StreamDecoder<'m>>,
    /// The prompt and the tokens generated.
    pub(super) tokens: Vec<u32>,
    prompt_len: usize,
    /// The batch that began the generation.
    pub(super) batch: Option<u64>,
    prompt_features: BTreeMap<HookPoint, SparseFeatures>,
    beginning: Beginning,
    /// The logits for the position after the last one run.
    logits: Vec<f32>,
    /// The next token, if it was chosen before its turn.
    next: Option<Choice>,
    produced: usize,
    max_tokens: usize,
    end: Option<EndReason>,
}

/// The cached beginning of a prompt.
#[derive(Debug)]
struct Beginning {
    /// The last piece run or reused; `None` if one was run without the cache.
    piece: Option<Id>,
    /// The interventions that can change the prompt.
    changes: Vec<usize>,
    /// The number of tokens reused.
    reused: usize,
}

/// The next action of a generation.
#[derive(Debug)]
pub(super) enum Turn {
    /// Runs these positions of the prompt.
    Prompt(Range<usize>),
    /// Runs the chosen token.
    Token(Choice),
    /// Returns the chosen token without running it, because nothing needs the pass.
    Last(Choice),
    /// None: the generation has ended.
    End,
}

/// The reason a generation ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EndReason {
    /// [`Sampling::max_tokens`] tokens were generated.
    MaxTokens,
    /// The model ended the text.
    Stop {
        /// The token that ends the text, which was not returned.
        token: u32,
    },
    /// A condition of [`Plan::stop_when`] held at the last token returned.
    Condition {
        /// The condition; if several held, the first in the plan.
        condition: Condition,
        /// The feature's activation at that token.
        value: f32,
    },
    /// The context is full.
    ContextFull {
        /// The number of positions in the context.
        capacity: usize,
    },
    /// A number is not finite, because a weight is not or an intervention left the range of float32.
    /// The token at which it was found is not returned.
    NotFinite(NonFinite),
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MaxTokens => f.write_str("max_tokens"),
            Self::Stop { .. } => f.write_str("stop"),
            Self::Condition { .. } => f.write_str("stop_when"),
            Self::ContextFull { .. } => f.write_str("context_full"),
            Self::NotFinite(_) => f.write_str("not_finite"),
        }
    }
}

impl<'m> Generation<'m> {
    /// Creates a generation after checking everything, without running anything.
    pub(super) fn begin(
        model: &'m InterpretableModel,
        prompt: &[u32],
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Self, RuntimeError> {
        sampling.check()?;
        let plan = plan.check(model)?;
        if let Some(&hook) = plan.capture.first() {
            return Err(RuntimeError::CaptureInGeneration { hook });
        }
        let tokens = TokenBatch::new(&[prompt.to_vec()])?;
        tokens.check(model.gpt().config().shape.vocab_size)?;
        let capacity = model.context_len();
        if prompt.len() > capacity {
            return Err(RuntimeError::PromptTooLong { found: prompt.len(), capacity });
        }
        let positions = TokenPositions::new(&tokens, 0, prompt.len(), |id| model.is_special(id));
        let more = sampling.max_tokens.min(capacity - prompt.len());
        for intervention in &plan.interventions {
            positions.check(intervention, more)?;
        }
        Ok(Self {
            model,
            report: ReportBuilder::new(plan.interventions.len()),
            prompt_features: plan
                .readers
                .iter()
                .filter(|(_, reader)| reader.track)
                .map(|(&hook, reader)| (hook, SparseFeatures::new(reader.sae.config().d_sae())))
                .collect(),
            beginning: Beginning { piece: None, changes: plan.changes_of_prompts(), reused: 0 },
            plan,
            // Allocate only positions that can be used: a config may claim any context length.
            cache: model.gpt().cache(1, prompt.len() + more),
            sampler: Sampler::new(sampling.clone()),
            decoder: model.tokenizer().map(|tokenizer| tokenizer.stream_after_prompt()),
            tokens: prompt.to_vec(),
            prompt_len: prompt.len(),
            batch: None,
            logits: Vec::new(),
            next: None,
            produced: 0,
            max_tokens: sampling.max_tokens,
            end: None,
        })
    }

    /// Reuses the beginning of the prompt if `prefixes` has it.
    pub(super) fn reuse(&mut self, prefixes: &mut PrefixCache, plan: &Plan) {
        let mut parent = prefixes.root(self.changes_of_prompt(plan));
        self.beginning.piece = Some(parent);
        while let Some(piece) = self.next_piece() {
            let ends = piece.end == self.prompt_len;
            let found = prefixes.get(parent, &self.tokens[piece.clone()]);
            let enough = |kept: &CachedPiece| {
                self.prompt_features.keys().all(|hook| kept.features.contains_key(hook))
                    && (!ends || kept.logits.is_some())
            };
            let Some((id, kept)) = found.filter(|(_, kept)| enough(kept)) else { return };
            self.cache.extend(&kept.tail);
            self.report.merge(&self.beginning.changes, &kept.report);
            for (hook, features) in &mut self.prompt_features {
                features.append(&kept.features[hook]);
            }
            if let Some(logits) = kept.logits.as_ref().filter(|_| ends) {
                self.logits.clone_from(logits);
            }
            parent = id;
            self.beginning.piece = Some(id);
            self.beginning.reused = piece.end;
        }
    }

    /// Hash of everything in the plan that affects the prompt's activations; part of the
    /// prefix-cache key.
    fn changes_of_prompt(&self, plan: &Plan) -> Digest {
        let mut digest = Sha256::new();
        for &index in &self.beginning.changes {
            let intervention = &self.plan.interventions[index];
            digest.update(format!("{intervention}\n"));
            if let Target::Vector(name) = &intervention.target {
                for value in plan.values_of(name) {
                    digest.update(value.to_le_bytes());
                }
            }
            // The last position depends on the prompt's length.
            if *intervention.at.range() == PositionRange::Last {
                digest.update(self.prompt_len.to_le_bytes());
            }
        }
        digest.finalize().into()
    }

    /// The number of prompt tokens reused from the prefix cache.
    pub fn reused(&self) -> usize {
        self.beginning.reused
    }

    /// The prompt's token ids.
    pub fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt_len]
    }

    /// The prompt's features at each tracked hook point, with a row for each token.
    pub fn prompt_features(&self) -> &BTreeMap<HookPoint, SparseFeatures> {
        &self.prompt_features
    }

    /// The reason the generation ended; `None` while it is in progress.
    pub fn end(&self) -> Option<EndReason> {
        self.end
    }

    /// The error that ended the generation, if one did.
    pub fn error(&self) -> Option<RuntimeError> {
        match self.end? {
            EndReason::NotFinite(found) => Some(RuntimeError::NonFinite { found }),
            _ => None,
        }
    }

    /// A report for each intervention, in the plan's order, on the tokens run so far, including the
    /// prompt.
    pub fn applied(&self) -> Vec<InterventionReport> {
        self.report.applied(&self.plan.interventions)
    }

    /// The positions of the prompt to run next, if any remain.
    pub(super) fn next_piece(&self) -> Option<Range<usize>> {
        let from = self.cache.len();
        let to = ((from / PIECE_TOKENS + 1) * PIECE_TOKENS).min(self.prompt_len);
        (from < to).then_some(from..to)
    }

    fn ends_text(&self, token: u32) -> bool {
        self.model.tokenizer().is_some_and(|tokenizer| tokenizer.ends_text(token))
    }

    /// Decides the next action.
    pub(super) fn turn(&mut self) -> Turn {
        if self.end.is_some() {
            return Turn::End;
        }
        if let Some(piece) = self.next_piece() {
            return Turn::Prompt(piece);
        }
        match self.next.take().map_or_else(|| self.choose(), Ok) {
            // The pass of the last token would only compute logits that are never read.
            Ok(choice) => {
                let asked = !self.plan.readers.is_empty() || !self.plan.edits.is_empty();
                let last = self.produced + 1 == self.max_tokens;
                if last && !asked { Turn::Last(choice) } else { Turn::Token(choice) }
            }
            Err(reason) => {
                self.end = Some(reason);
                Turn::End
            }
        }
    }

    fn choose(&mut self) -> Result<Choice, EndReason> {
        if self.produced == self.max_tokens {
            return Err(EndReason::MaxTokens);
        }
        let capacity = self.cache.capacity();
        if self.cache.len() == capacity {
            return Err(EndReason::ContextFull { capacity });
        }
        let Some(choice) = self.sampler.choose(&self.logits) else {
            return Err(EndReason::NotFinite(self.diagnose(self.tokens.len(), self.bad_logits())));
        };
        if self.ends_text(choice.token) {
            return Err(EndReason::Stop { token: choice.token });
        }
        Ok(choice)
    }

    /// The tokens that a turn runs.
    pub(super) fn turn_tokens(&self, turn: &Turn) -> Vec<u32> {
        match turn {
            Turn::Prompt(piece) => self.tokens[piece.clone()].to_vec(),
            Turn::Token(choice) => vec![choice.token],
            Turn::Last(_) | Turn::End => Vec::new(),
        }
    }

    /// The positions of the next pass's tokens.
    pub(super) fn token_positions(&self, tokens: &[u32]) -> TokenPositions {
        let tokens = TokenBatch::new(&[tokens.to_vec()]).expect("a turn that is run has a token");
        let prompt_len = self.prompt_len;
        TokenPositions::new(&tokens, self.cache.len(), prompt_len, |id| self.model.is_special(id))
    }

    /// Returns whether this turn needs the logits of its last position.
    pub(super) fn wants_logits(&self, turn: &Turn) -> bool {
        match turn {
            Turn::Prompt(piece) => piece.end == self.prompt_len,
            Turn::Token(_) => true,
            Turn::Last(_) | Turn::End => false,
        }
    }

    /// Stores the results of a pass over `piece` of the prompt.
    pub(super) fn ran_prompt(
        &mut self,
        piece: Range<usize>,
        output: PassOutput,
        report: &ReportBuilder,
        logits: Option<Vec<f32>>,
        prefixes: Option<&mut PrefixCache>,
    ) -> StepOutcome {
        let report = report.select(&self.beginning.changes);
        self.report.merge(&self.beginning.changes, &report);
        for (hook, features) in &mut self.prompt_features {
            features.append(&output.features[hook]);
        }
        if let Some(logits) = &logits {
            self.logits.clone_from(logits);
            // Once per prompt; those of a token are looked at where the next one is chosen.
            if !all_finite(logits) {
                return self.fail(self.bad_logits(), piece.end);
            }
        }
        self.beginning.piece = prefixes.zip(self.beginning.piece).map(|(prefixes, parent)| {
            let tail = self.cache.tail(piece.clone());
            let kept = CachedPiece { tail, report, features: output.features, logits };
            prefixes.put(parent, &self.tokens[piece], kept)
        });
        StepOutcome::Prompt
    }

    /// Stores the results of a pass over a chosen token; `output` is `None` if no pass was needed.
    pub(super) fn ran_token(
        &mut self,
        choice: Choice,
        output: Option<PassOutput>,
        report: &ReportBuilder,
        logits: Option<Vec<f32>>,
    ) -> StepOutcome {
        let position = self.tokens.len();
        self.tokens.push(choice.token);
        self.produced += 1;
        self.logits = logits.unwrap_or_default();
        let all: Vec<usize> = (0..self.plan.interventions.len()).collect();
        self.report.merge(&all, report);
        let (features, steered, stop) =
            output.map_or_else(Default::default, |out| (out.features, out.steered, out.stop));
        let mut steered_features: BTreeMap<HookPoint, Vec<(u32, f32)>> = BTreeMap::new();
        for SteeredFeature { hook, feature, value, .. } in steered {
            steered_features.entry(hook).or_default().push((feature, value));
        }
        self.end = stop.map(|(condition, value)| EndReason::Condition { condition, value });
        let Choice { token, logprob, top: top_logprobs } = choice;
        let mut text = self.decoder.as_mut().map_or_else(String::new, |decoder| {
            // A row of the embedding that only pads it has no token, and no text.
            decoder.push(token).unwrap_or_default()
        });
        // Logits that no token is chosen from.
        let full = position + 1 == self.cache.capacity();
        let last = self.end.is_some() || self.produced == self.max_tokens || full;
        if last && !all_finite(&self.logits) {
            return self.fail(self.bad_logits(), self.tokens.len());
        }
        if last || self.ends_within_character() {
            // No later token can complete a partial character.
            text.push_str(&self.decoder.take().map_or_else(String::new, StreamDecoder::finish));
        }
        StepOutcome::Step(Step {
            position,
            token_id: token,
            text,
            logprob,
            features,
            steered_features,
            top_logprobs,
        })
    }

    /// Returns whether the text ends with an incomplete character. The next token, which may end the
    /// text and is then not returned, is chosen at once if the character depends on it.
    fn ends_within_character(&mut self) -> bool {
        if self.decoder.as_ref().is_none_or(|decoder| !decoder.is_within_character()) {
            return false;
        }
        match self.choose() {
            Ok(choice) => {
                self.next = Some(choice);
                false
            }
            Err(reason) => {
                self.end = Some(reason);
                true
            }
        }
    }

    /// Ends the generation because of a number in the pass of the last of the first `ran` tokens.
    pub(super) fn fail(&mut self, found: NonFinite, ran: usize) -> StepOutcome {
        self.end = Some(EndReason::NotFinite(self.diagnose(ran, found)));
        StepOutcome::End
    }

    /// Finds the first place in the first `ran` tokens at which a number is not finite, which is
    /// `found` if the activations are finite.
    fn diagnose(&self, ran: usize, found: NonFinite) -> NonFinite {
        let tokens = TokenBatch::new(&[self.tokens[..ran].to_vec()]).expect("a prompt has a token");
        let special = |id| self.model.is_special(id);
        let positions = TokenPositions::new(&tokens, 0, self.prompt_len, special);
        first_non_finite(self.model.gpt(), &self.plan, &tokens, &positions).unwrap_or(found)
    }

    /// The place of the last logits.
    fn bad_logits(&self) -> NonFinite {
        NonFinite { at: NonFiniteAt::Logits, row: 0, position: self.cache.len() - 1 }
    }
}

fn all_finite(logits: &[f32]) -> bool {
    logits.iter().all(|logit| logit.is_finite())
}
