//! The texts of an answer, which OpenAI calls choices.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, InterventionReport, Step};
use nanoscope_sae::SparseFeatures;
use serde_json::Value;

use crate::error::ApiError;
use crate::generation::{End, Event, GenerationHandle};
use crate::openai::causes::Causes;
use crate::openai::prompt_score::PromptScore;

/// One text of an answer, while it is being generated.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) index: usize,
    /// True if the text is steered. Only set if texts are compared.
    pub(crate) steered: Option<bool>,
    /// True if this is the first text of its prompt, whose tokens count only once in the usage.
    pub(crate) first_of_prompt: bool,
    pub(crate) prompt: Vec<u32>,
    /// The beginning of the text: the prompt, if it is echoed.
    pub(crate) opening: String,
    /// The log probabilities of the prompt's tokens, if they are echoed.
    pub(crate) score: Option<Arc<PromptScore>>,
    /// True once there is a token.
    pub(crate) has_text: bool,
    source: Source,
    /// Characters generated so far, including those of the opening.
    pub(crate) offset: usize,
    reused: usize,
    /// The causes of the tokens, if they are requested.
    pub(crate) causes: Option<Causes>,
}

/// The origin of a text's events.
#[derive(Debug)]
pub(crate) enum Source {
    Generation(GenerationHandle),
    /// The events of a text without a generated token.
    Silent(VecDeque<ChoiceEvent>),
}

/// An event of a text.
#[derive(Debug)]
pub(crate) enum ChoiceEvent {
    Started(BTreeMap<HookPoint, SparseFeatures>),
    Token {
        step: Step,
        /// The text that can be shown now.
        text: String,
        /// Number of characters before the token.
        offset: usize,
        /// The causes, if they are requested.
        why: Option<Value>,
    },
    Ended {
        /// The rest of the text, which was held back as a possible stop string.
        text: String,
        why: End,
        applied: Vec<InterventionReport>,
        reused: usize,
        /// The mean negative log-likelihood of the text under the unsteered model.
        nll: Option<f64>,
    },
}

impl Choice {
    /// The text at `index`, which begins with `opening`.
    pub(crate) fn new(index: usize, prompt: Vec<u32>, opening: String, source: Source) -> Self {
        Self {
            index,
            steered: None,
            first_of_prompt: false,
            prompt,
            offset: opening.chars().count(),
            opening,
            score: None,
            has_text: false,
            source,
            reused: 0,
            causes: None,
        }
    }

    /// Waits until there is a token.
    ///
    /// # Errors
    /// If the text ended without one for a reason that is not the model's.
    pub(crate) async fn begin(&mut self) -> Result<(), ApiError> {
        match &mut self.source {
            Source::Generation(generation) => generation.begin().await,
            Source::Silent(_) => Ok(()),
        }
    }

    /// Counts the text as unread until the choice is dropped, because the answer is sent at its end.
    pub(crate) fn count_until_dropped(&mut self) {
        if let Source::Generation(generation) = &mut self.source {
            generation.count_until_dropped();
        }
    }

    /// Waits for the next event; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<ChoiceEvent> {
        let event = match &mut self.source {
            Source::Generation(generation) => generation.next().await?,
            Source::Silent(events) => return events.pop_front(),
        };
        Some(match event {
            Event::Started { reused, prompt_features } => {
                self.reused = reused;
                ChoiceEvent::Started(prompt_features)
            }
            Event::Token { step, text } => {
                let offset = self.offset;
                self.has_text = true;
                self.offset += step.text.chars().count();
                let why = match &mut self.causes {
                    Some(causes) => Some(causes.next(step.token_id).await),
                    None => None,
                };
                ChoiceEvent::Token { step, text, offset, why }
            }
            Event::End { text, why, applied, nll } => {
                ChoiceEvent::Ended { text, why, applied, reused: self.reused, nll }
            }
        })
    }
}

impl Source {
    /// The events of a text that consists of its prompt.
    pub(crate) fn silent(score: &PromptScore) -> Self {
        Self::Silent(VecDeque::from([
            ChoiceEvent::Started(score.features.clone()),
            ChoiceEvent::Ended {
                text: String::new(),
                why: End::Model(EndReason::MaxTokens),
                applied: score.applied.clone(),
                reused: 0,
                nll: None,
            },
        ]))
    }
}

/// OpenAI's `finish_reason`: `stop` if the text came to an end, `length` if it was cut off.
pub(crate) fn finish_reason(why: &End) -> &'static str {
    match why {
        End::StopString | End::Model(EndReason::Stop { .. } | EndReason::Condition { .. }) => {
            "stop"
        }
        _ => "length",
    }
}
