use std::ops::ControlFlow;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    Batch, EndReason, Fluency, Generation, InterpretableModel, Intervention, Op, Plan, Sampling,
    Scale, Step, Target,
};

use crate::error::IndexError;
use crate::fingerprint::mix;

/// The temperature of the texts of an index, which is the default of `nanoscope generate`.
const TEMPERATURE: f32 = 0.7;

/// The largest share of the norm that an index may name.
const MAX_SHARE: f32 = 10.0;

/// Sampled continuations of a few prompts, which measurements of steering are made on.
#[derive(Debug, Clone, Copy)]
pub struct Continuations<'m> {
    /// The model.
    pub model: &'m InterpretableModel,
    /// The prompts, which are continued in turn.
    pub prompts: &'m [Vec<u32>],
    /// The sampling of each text, but for its seed.
    pub sampling: &'m Sampling,
}

/// A continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    /// The tokens, with those of the prompt.
    pub tokens: Vec<u32>,
    /// The generated text.
    pub text: String,
    /// The reason for which it ended.
    pub end: Option<EndReason>,
}

impl Continuations<'_> {
    /// Writes a text for each of `seeds` with each plan, all in shared passes. The texts of all plans have the
    /// same prompts and seeds.
    ///
    /// `go_on` is called before each pass.
    ///
    /// # Errors
    /// [`IndexError::Runtime`] if a prompt cannot be run; [`IndexError::Interrupted`] if `go_on` breaks.
    ///
    /// # Panics
    /// If there are no prompts, or no seeds.
    pub fn write(
        &self,
        plans: &[Plan],
        seeds: &[u64],
        go_on: impl FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<Continuation>>, IndexError> {
        let mut batch = Batch::new(self.model, 0);
        let mut rows: Vec<Generation<'_>> = Vec::with_capacity(plans.len() * seeds.len());
        for plan in plans {
            for (row, &seed) in seeds.iter().enumerate() {
                let sampling = Sampling { seed, ..self.sampling.clone() };
                rows.push(batch.begin(self.prompt(row), plan, &sampling)?);
            }
        }
        let steps = batch.finish(&mut rows, go_on)?.ok_or(IndexError::Interrupted)?;
        let continuation = |(row, (steps, end)): (usize, (&Vec<Step>, Option<EndReason>))| {
            let generated = steps.iter().map(|step| step.token_id);
            Continuation {
                tokens: self.prompt(row).iter().copied().chain(generated).collect(),
                text: steps.iter().map(|step| step.text.as_str()).collect(),
                end,
            }
        };
        let of_plan = |(steps, rows): (&[Vec<Step>], &[Generation<'_>])| {
            steps
                .iter()
                .zip(rows.iter().map(Generation::end))
                .enumerate()
                .map(continuation)
                .collect()
        };
        Ok(steps.chunks(seeds.len()).zip(rows.chunks(seeds.len())).map(of_plan).collect())
    }

    /// Computes the mean negative log-likelihood of the texts of one plan under the unsteered model; `None` if all
    /// ended at once.
    ///
    /// # Errors
    /// [`IndexError::Runtime`] if the model cannot be run.
    pub fn nll(&self, texts: &[Continuation]) -> Result<Option<f64>, IndexError> {
        let mut nlls = Vec::with_capacity(texts.len());
        for (row, text) in texts.iter().enumerate() {
            nlls.extend(self.model.mean_nll(&text.tokens, self.prompt(row).len())?);
        }
        Ok((!nlls.is_empty()).then(|| nlls.iter().sum::<f64>() / nlls.len() as f64))
    }

    fn prompt(&self, row: usize) -> &[u32] {
        &self.prompts[row % self.prompts.len()]
    }
}

/// The sampling of the texts of an index.
pub(crate) fn sampling(max_tokens: usize) -> Sampling {
    Sampling { temperature: TEMPERATURE, max_tokens, ..Sampling::default() }
}

/// The seeds of the texts of an index.
pub(crate) fn seeds(seed: u64, texts: usize) -> Vec<u64> {
    (0..texts as u64).map(|row| mix(seed ^ row)).collect()
}

/// The intervention that adds a feature's direction by `share` of the norm.
pub(crate) fn added(hook: HookPoint, feature: usize, share: f32) -> Intervention {
    Intervention::new(hook, Target::Feature(feature), Op::Add(share, Scale::Norm))
}

/// Returns whether the fluency of steered texts stays within `limit` times that of the unsteered ones. Texts that
/// end at once, where unsteered ones do not, are not fluent.
pub(crate) fn is_fluent(nll: Option<f64>, unsteered_nll: f64, limit: f64) -> bool {
    let fluency = nll.map(|nll| Fluency { nll, unsteered_nll: Some(unsteered_nll) });
    fluency.and_then(|fluency| fluency.ratio()).is_some_and(|ratio| ratio <= limit)
}

/// Returns whether a share of the norm, as read from a file, can be steered by.
pub(crate) fn is_share(share: f32) -> bool {
    share > 0.0 && share <= MAX_SHARE
}

/// The number of multiplications that a token takes, roughly.
pub(crate) fn multiplications(model: &InterpretableModel) -> usize {
    let shape = &model.gpt().config().shape;
    12 * shape.n_layer * shape.n_embd * shape.n_embd + shape.vocab_size * shape.n_embd
}
