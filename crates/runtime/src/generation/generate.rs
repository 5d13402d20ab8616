use crate::error::RuntimeError;
use crate::generation::outcome::{Step, StepOutcome};
use crate::generation::sampling::Sampling;
use crate::generation::state::Generation;
use crate::generation::step::step_together;
use crate::model::InterpretableModel;
use crate::steering::Plan;

impl InterpretableModel {
    /// Generates text after `prompt`, one token at a time, with a key-value cache.
    ///
    /// The prompt is run immediately; each token is computed when the iterator is advanced.
    ///
    /// # Errors
    /// [`RuntimeError`] if the plan cannot be followed, a sampling parameter is out of its range,
    /// or the prompt is empty, too long or outside the vocabulary; [`RuntimeError::NonFinite`] if the
    /// prompt's activations leave the range of float32. Where those of a later token do, the
    /// generation ends, and [`Generation::error`] returns the error.
    pub fn generate<'m>(
        &'m self,
        prompt: &[u32],
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Generation<'m>, RuntimeError> {
        Generation::start(self, prompt, plan, sampling)
    }
}

impl<'m> Generation<'m> {
    /// Creates a generation and runs its prompt.
    pub(super) fn start(
        model: &'m InterpretableModel,
        prompt: &[u32],
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Self, RuntimeError> {
        let mut generation = Self::begin(model, prompt, plan, sampling)?;
        while generation.end().is_none() && generation.next_piece().is_some() {
            step_together(model, &mut [&mut generation], None);
        }
        generation.error().map_or(Ok(generation), Err)
    }
}

impl Iterator for Generation<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let model = self.model;
        loop {
            let progress = step_together(model, &mut [self], None).pop();
            match progress.expect("one for each generation") {
                StepOutcome::Prompt => {}
                StepOutcome::Step(step) => return Some(step),
                StepOutcome::End => return None,
            }
        }
    }
}
