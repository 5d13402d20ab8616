use std::ops::ControlFlow;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Fluency, InterpretableModel, Plan};
use serde::{Deserialize, Serialize};

use crate::continuations::{
    Continuations, added, is_fluent, is_share, multiplications, sampling, seeds,
};
use crate::error::IndexError;

/// The shares of the activation's norm with which features can be added, measured for one SAE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SteeringShares {
    /// The share to begin with, at most 0.4: with it, 95 % of the features leave a text fluent, unless even the
    /// smallest that was tried is too much.
    pub default: f32,
    /// The smallest share that was tried with which most features break the text; `None` if none did.
    pub breaks: Option<f32>,
    /// The number of features that were tried.
    pub features: usize,
}

/// The sizes of a measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharesOptions {
    /// The number of features, spread evenly over the SAE. Default: 48.
    pub features: usize,
    /// The maximum number of generated tokens per text. Default: 24.
    pub tokens: usize,
    /// The seed of the sampling. Default: 42.
    pub seed: u64,
}

impl Default for SharesOptions {
    fn default() -> Self {
        Self { features: 48, tokens: 24, seed: 42 }
    }
}

impl SharesOptions {
    /// The options for a model that may be large: with fewer features, but at least 8, so that the
    /// measurement takes minutes on a CPU.
    pub fn for_model(model: &InterpretableModel) -> Self {
        /// Multiplications per feature: three prompts of 24 tokens with each share, written and read.
        const PASSES: u64 = 3 * 24 * 14 * 2;
        const PRODUCT: u64 = 2_000_000_000_000;

        let default = Self::default();
        let features = PRODUCT / PASSES / multiplications(model).max(1) as u64;
        let features = features.clamp(8, default.features as u64) as usize;
        Self { features, ..default }
    }
}

/// The shares that are tried, in order.
const LEVELS: [f32; 14] =
    [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// The ratio of negative log-likelihoods that 95 % of the features stay below with the default share. Features
/// with a strong effect on the text are above the others, so this is less than [`Fluency::BROKEN`].
const FLUENT: f64 = 1.6;

/// The largest share to begin with. Before the last block most features change a text little, and those that
/// do change it break it with a larger one.
const MAX_DEFAULT: f32 = 0.4;

impl SteeringShares {
    /// The share to begin with where none was measured.
    pub const UNMEASURED: f32 = 0.3;

    /// Measures the shares for the SAE at `hook`: continues each of `prompts` with one feature after
    /// another added at each share, and compares the negative log-likelihood of the texts under the
    /// unsteered model with that of unsteered texts.
    ///
    /// `progress` gets the number of shares that were tried and the number of all, before each pass, and can
    /// end the measurement.
    ///
    /// # Errors
    /// [`IndexError::Runtime`] if a prompt is empty or cannot be run, or the model has no SAE at `hook`;
    /// [`IndexError::Unmeasured`] if there are no prompts, or the model writes nothing after them;
    /// [`IndexError::Interrupted`].
    pub fn measure(
        model: &InterpretableModel,
        hook: HookPoint,
        prompts: &[Vec<u32>],
        options: &SharesOptions,
        mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self, IndexError> {
        let d_sae = model.sae(hook)?.config().d_sae();
        let n = options.features.clamp(1, d_sae);
        let features: Vec<usize> = (0..n).map(|i| i * d_sae / n).collect();
        if prompts.is_empty() {
            return Err(IndexError::Unmeasured { hook });
        }
        let sampling = sampling(options.tokens);
        let texts = Continuations { model, prompts, sampling: &sampling };
        let seeds = seeds(options.seed, prompts.len());
        let mean_nlls = |plans: &[Plan], go_on: &mut dyn FnMut() -> ControlFlow<()>| {
            let written = texts.write(plans, &seeds, go_on)?;
            written.iter().map(|of_plan| texts.nll(of_plan)).collect::<Result<Vec<_>, _>>()
        };
        let unsteered = mean_nlls(&[Plan::new()], &mut || progress(0, LEVELS.len()))?[0];
        let unsteered = unsteered.ok_or(IndexError::Unmeasured { hook })?;
        let mut shares = Self { default: LEVELS[0], breaks: None, features: n };
        let mut is_default = true;
        for (tried, share) in LEVELS.into_iter().enumerate() {
            let plan = |&feature: &usize| Plan::new().intervene(added(hook, feature, share));
            let plans: Vec<Plan> = features.iter().map(plan).collect();
            let nlls = mean_nlls(&plans, &mut || progress(tried, LEVELS.len()))?;
            let broken =
                |limit| nlls.iter().filter(|&&nll| !is_fluent(nll, unsteered, limit)).count();
            is_default &= broken(FLUENT) * 20 <= n && share <= MAX_DEFAULT;
            if is_default {
                shares.default = share;
            }
            if broken(Fluency::BROKEN) * 2 > n {
                shares.breaks = Some(share);
                break;
            }
        }
        Ok(shares)
    }

    pub(crate) fn is_valid(&self) -> bool {
        is_share(self.default) && self.breaks.is_none_or(is_share)
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};

    use super::*;

    #[test]
    fn a_strength_is_found_and_the_same_seed_gives_the_same() {
        let (device, hook) = (test_device(), HookPoint::ResidPost(1));
        let model = InterpretableModel::new(tiny_gpt(TINY_SHAPE, &device))
            .with_sae(hook, identity_sae(64, 4, &device))
            .unwrap();
        let options = SharesOptions { features: 5, tokens: 6, ..SharesOptions::default() };
        let prompts = [vec![3, 1, 4], vec![1, 5]];
        let mut seen = Vec::new();

        let mut measure = || {
            SteeringShares::measure(&model, hook, &prompts, &options, |done, _| {
                seen.push(done);
                ControlFlow::Continue(())
            })
        };
        let (first, second) = (measure().unwrap(), measure().unwrap());

        assert_eq!(first, second);
        assert!(first.is_valid() && first.features == 5);
        assert!(LEVELS.contains(&first.default));
        assert!(first.breaks.is_none_or(|breaks| breaks > first.default));
        assert_eq!(seen[0], 0);
        assert!(seen.is_sorted_by(|a, b| a <= b || *b == 0));
    }

    #[test]
    fn a_measurement_ends_when_it_is_told_to_and_without_a_text_there_is_none() {
        let (device, hook) = (test_device(), HookPoint::ResidPost(1));
        let model = InterpretableModel::new(tiny_gpt(TINY_SHAPE, &device))
            .with_sae(hook, identity_sae(64, 4, &device))
            .unwrap();
        let measure = |prompts: &[Vec<u32>], answer: ControlFlow<()>| {
            let options = SharesOptions { features: 2, tokens: 2, ..SharesOptions::default() };
            SteeringShares::measure(&model, hook, prompts, &options, |_, _| answer).unwrap_err()
        };
        let told = measure(&[vec![3]], ControlFlow::Break(()));
        assert!(matches!(told, IndexError::Interrupted), "{told}");
        let none = measure(&[], ControlFlow::Continue(()));
        assert!(matches!(none, IndexError::Unmeasured { .. }), "{none}");
    }
}
