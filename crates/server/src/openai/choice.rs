//! The texts of an answer, which OpenAI calls choices.

use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, InterventionReport, Step};
use nanoscope_sae::SparseFeatures;

use crate::generation::{End, Event, GenerationHandle};

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
    generation: GenerationHandle,
    /// Characters generated so far, including those of the opening.
    offset: usize,
    reused: usize,
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
    },
    Ended {
        /// The rest of the text, which was held back as a possible stop string.
        text: String,
        why: End,
        applied: Vec<InterventionReport>,
        reused: usize,
    },
}

impl Choice {
    /// The text at `index`, which begins with `opening`.
    pub(crate) fn new(
        index: usize,
        prompt: Vec<u32>,
        opening: String,
        generation: GenerationHandle,
    ) -> Self {
        Self {
            index,
            steered: None,
            first_of_prompt: false,
            prompt,
            offset: opening.chars().count(),
            opening,
            generation,
            reused: 0,
        }
    }

    /// Waits for the next event; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<ChoiceEvent> {
        Some(match self.generation.next().await? {
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

/// OpenAI's `finish_reason`: `stop` if the text came to an end, `length` if it was cut off.
pub(crate) fn finish_reason(why: &End) -> &'static str {
    match why {
        End::StopString | End::Model(EndReason::Stop { .. } | EndReason::Condition { .. }) => {
            "stop"
        }
        _ => "length",
    }
}
