//! One of the texts of an answer.

use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Applied, EndReason, Step};
use nanoscope_sae::SparseFeatures;

use crate::generation::{End, Event, GenerationHandle};

/// A text that is being generated.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) index: usize,
    /// Whether it is steered, where texts are compared.
    pub(crate) steered: Option<bool>,
    /// Whether its prompt counts in what was used; once, however many texts go on from it.
    pub(crate) first_of_prompt: bool,
    pub(crate) prompt: Vec<u32>,
    /// What the text begins with: the prompt, if it is to be echoed.
    pub(crate) opening: String,
    running: GenerationHandle,
    /// Characters of the tokens so far, the opening's included.
    offset: usize,
    reused: usize,
}

/// What is new of a text.
#[derive(Debug)]
pub(crate) enum ChoiceEvent {
    Started(BTreeMap<HookPoint, SparseFeatures>),
    Token {
        step: Step,
        /// What can be given out by now.
        text: String,
        /// Characters before the token.
        offset: usize,
    },
    Ended {
        /// What was held back and belongs to the text after all.
        text: String,
        why: End,
        applied: Vec<Applied>,
        reused: usize,
    },
}

impl Choice {
    pub(crate) fn new(
        index: usize,
        prompt: Vec<u32>,
        opening: String,
        running: GenerationHandle,
    ) -> Self {
        Self {
            index,
            steered: None,
            first_of_prompt: false,
            prompt,
            offset: opening.chars().count(),
            opening,
            running,
            reused: 0,
        }
    }

    /// What comes next; none after the end.
    pub(crate) async fn next(&mut self) -> Option<ChoiceEvent> {
        Some(match self.running.next().await? {
            Event::Started { reused, prompt_features } => {
                self.reused = reused;
                ChoiceEvent::Started(prompt_features)
            }
            Event::Token { step, text } => {
                let offset = self.offset;
                self.offset += step.text.chars().count();
                ChoiceEvent::Token { step, text, offset }
            }
            Event::End { text, why, applied } => {
                ChoiceEvent::Ended { text, why, applied, reused: self.reused }
            }
        })
    }
}

/// OpenAI's word for why a text ended: `stop` where it came to an end, `length` where it was cut.
pub(crate) fn finish_reason(why: &End) -> &'static str {
    match why {
        End::StopString | End::Model(EndReason::Stop { .. } | EndReason::Condition { .. }) => {
            "stop"
        }
        _ => "length",
    }
}
