//! Generations that share passes.
//!
//! Generations that run together are at different positions, so each row has its own key-value
//! cache: the weights are read once for all rows, and each row attends to its own keys. A row that
//! leaves frees its memory, nothing is padded, and a shared cache would have to be masked and
//! compacted. Activations that several plans read at a hook point are encoded once; each plan
//! changes only its own row.

use crate::error::RuntimeError;
use crate::generation::prefix_cache::PrefixCache;
use crate::generation::sampling::Sampling;
use crate::generation::state::Generation;
use crate::generation::step::{StepOutcome, step_together};
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
///     for (progress, tokens) in batch.step(&mut [&mut long, &mut short]).into_iter().zip(&mut tokens) {
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
}

impl<'m> Batch<'m> {
    /// Creates a batch on `model` that caches at most `prefix_bytes` of prompts' beginnings; 0
    /// disables the cache.
    pub fn new(model: &'m InterpretableModel, prefix_bytes: usize) -> Self {
        Self { model, prefixes: (prefix_bytes > 0).then(|| PrefixCache::new(prefix_bytes)) }
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
        if let Some(prefixes) = &mut self.prefixes {
            generation.reuse(prefixes, plan);
        }
        Ok(generation)
    }

    /// Steps each generation once: runs a piece of its prompt or generates its next token. All
    /// tokens share one pass, as do prompt pieces of equal length.
    pub fn step(&mut self, generations: &mut [&mut Generation<'m>]) -> Vec<StepOutcome> {
        step_together(self.model, generations, self.prefixes.as_mut())
    }
}
