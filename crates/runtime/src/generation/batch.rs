//! Generations that share passes.
//!
//! Generations that run together are at different positions, so each row has its own key-value
//! cache: the weights are read once for all rows, and each row attends to its own keys. A row that
//! leaves frees its memory, nothing is padded, and a shared cache would have to be masked and
//! compacted. Activations that several plans read at a hook point are encoded once; each plan
//! changes only its own row.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::RuntimeError;
use crate::generation::outcome::{Step, StepOutcome};
use crate::generation::prefix_cache::PrefixCache;
use crate::generation::sampling::Sampling;
use crate::generation::state::Generation;
use crate::generation::step::step_together;
use crate::model::InterpretableModel;
use crate::steering::Plan;

/// Runs generations on one model in shared passes and caches the beginnings of their prompts.
///
/// Generations can join and leave at any step. Each has its own plan, sampling and position. The
/// tokens of a generation do not depend on which others it is stepped with, except for float32
/// rounding: a matrix product of several rows may sum in a different order from that of one row.
///
/// ```
/// use nanoscope_runtime::{Batch, InterpretableModel, Plan, StepOutcome, Sampling};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let gpt = nanoscope_testing::tiny_gpt(nanoscope_testing::TINY_SHAPE, &nanoscope_testing::test_device());
/// let model = InterpretableModel::new(gpt);
/// let mut batch = Batch::new(&model, 1 << 20);
///
/// let mut long = batch.begin(&[3, 1, 4], &Plan::new(), &Sampling::greedy(5))?;
/// let mut short = batch.begin(&[2, 7], &Plan::new(), &Sampling::greedy(2))?;
/// let mut tokens = [Vec::new(), Vec::new()];
/// while long.end().is_none() {
///     for (progress, tokens) in batch.step(&mut [&mut long, &mut short])?.into_iter().zip(&mut tokens) {
///         if let StepOutcome::Step(step) = progress {
///             tokens.push(step.token_id);
///         }
///     }
/// }
/// assert_eq!(tokens.map(|tokens| tokens.len()), [5, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Batch<'m> {
    model: &'m InterpretableModel,
    prefixes: Option<PrefixCache>,
    /// Unique within the process.
    id: u64,
}

/// The id of the next batch.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl<'m> Batch<'m> {
    /// Creates a batch on `model` that caches at most `prefix_bytes` of prompts' beginnings; 0
    /// disables the cache.
    pub fn new(model: &'m InterpretableModel, prefix_bytes: usize) -> Self {
        let prefixes = (prefix_bytes > 0).then(|| PrefixCache::new(prefix_bytes));
        Self { model, prefixes, id: NEXT_ID.fetch_add(1, Ordering::Relaxed) }
    }

    /// Creates a generation to be advanced with [`step`](Self::step), without running anything.
    ///
    /// Reuses cached state from an earlier prompt with the same prefix and the same interventions.
    ///
    /// # Errors
    /// As [`InterpretableModel::generate`].
    pub fn begin(
        &mut self,
        prompt: &[u32],
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Generation<'m>, RuntimeError> {
        let mut generation = Generation::begin(self.model, prompt, plan, sampling)?;
        generation.batch = Some(self.id);
        if let Some(prefixes) = &mut self.prefixes {
            generation.reuse(prefixes, plan);
        }
        Ok(generation)
    }

    /// Steps each generation once: runs a piece of its prompt or generates its next token. All
    /// tokens share one pass, as do prompt pieces of equal length. A generation whose numbers leave the
    /// range of float32 ends with [`EndReason::NotFinite`]; the others go on.
    ///
    /// # Errors
    /// [`RuntimeError::ForeignGeneration`] if this batch did not begin one of them: its prefixes belong
    /// to another cache, and its weights may be another model's. Nothing is run then.
    ///
    /// [`EndReason::NotFinite`]: crate::EndReason::NotFinite
    pub fn step(
        &mut self,
        generations: &mut [&mut Generation<'m>],
    ) -> Result<Vec<StepOutcome>, RuntimeError> {
        let foreign = generations.iter().position(|generation| generation.batch != Some(self.id));
        if let Some(index) = foreign {
            return Err(RuntimeError::ForeignGeneration { index });
        }
        Ok(step_together(self.model, generations, self.prefixes.as_mut()))
    }

    /// Steps the generations until all have ended, and returns the tokens that each generated.
    ///
    /// `go_on` is called before each pass; with [`ControlFlow::Break`] the generations stay where they are, and
    /// the result is `None`.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn finish(
        &mut self,
        generations: &mut [Generation<'m>],
        mut go_on: impl FnMut() -> ControlFlow<()>,
    ) -> Result<Option<Vec<Vec<Step>>>, RuntimeError> {
        let mut steps: Vec<Vec<Step>> = generations.iter().map(|_| Vec::new()).collect();
        loop {
            let running = generations.iter_mut().zip(&mut steps);
            let (mut running, of_running): (Vec<&mut Generation<'m>>, Vec<&mut Vec<Step>>) =
                running.filter(|(generation, _)| generation.end().is_none()).unzip();
            if running.is_empty() {
                return Ok(Some(steps));
            }
            if go_on().is_break() {
                return Ok(None);
            }
            for (outcome, steps) in self.step(&mut running)?.into_iter().zip(of_running) {
                if let StepOutcome::Step(step) = outcome {
                    steps.push(step);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_model::gpt;

    #[test]
    fn generations_are_finished_together_as_each_alone_until_told_to_stop() {
        let model = InterpretableModel::new(gpt());
        let prompts = [vec![3, 1, 4], vec![2, 7]];
        let sampling = [Sampling::greedy(5), Sampling::greedy(2)];
        let mut batch = Batch::new(&model, 0);
        let mut begin = || -> Vec<_> {
            let rows = prompts.iter().zip(&sampling);
            rows.map(|(prompt, sampling)| batch.begin(prompt, &Plan::new(), sampling).unwrap())
                .collect()
        };
        let (mut rows, mut stopped) = (begin(), begin());

        let steps = batch.finish(&mut rows, || ControlFlow::Continue(())).unwrap().unwrap();
        let ids = |steps: &[Step]| steps.iter().map(|step| step.token_id).collect::<Vec<_>>();
        for ((steps, prompt), sampling) in steps.iter().zip(&prompts).zip(&sampling) {
            let alone: Vec<Step> =
                model.generate(prompt, &Plan::new(), sampling).unwrap().collect();
            assert_eq!(ids(steps), ids(&alone));
        }
        let mut passes = 0;
        let told = batch.finish(&mut stopped, || {
            passes += 1;
            if passes == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((told.unwrap(), passes), (None, 3));
    }
}
