use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::{ActivationCache, ActivationRecorder, HookPoint};
use nanoscope_kernels::read_together;
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::{Logits, TokenBatch};

use crate::error::RuntimeError;
use crate::features::ActiveFeatures;
use crate::model::InterpretableModel;
use crate::pass::non_finite::{NonFinite, NonFiniteAt};
use crate::pass::pass_router::PassRouter;
use crate::pass::plan_pass::PlanPass;
use crate::pass::probe::first_non_finite;
use crate::pass::report::{InterventionReport, ReportBuilder};
use crate::pass::token_positions::TokenPositions;
use crate::steering::{Intervention, Op, Plan, Positions, Splice, Target};

/// The results of one forward pass.
#[derive(Debug)]
pub struct RunOutput {
    /// The logits, `[batch, seq, vocab_size]`.
    pub logits: Tensor<3>,
    /// The features of each tracked hook point, with a row for each token: row `b · seq + t` is
    /// position `t` of row `b` of the batch.
    pub features: BTreeMap<HookPoint, SparseFeatures>,
    /// The captured activations.
    pub captured: ActivationCache,
    /// A report for each intervention, in the plan's order.
    pub applied: Vec<InterventionReport>,
}

impl RunOutput {
    /// Returns the active features of each token at `hook`, strongest first: the `top_k` strongest,
    /// or all of them.
    ///
    /// Inactive features are left out, so a token can have fewer than `top_k`. Strength is the
    /// activation's value, not its magnitude.
    ///
    /// # Errors
    /// [`RuntimeError::NotTracked`] if the plan did not track `hook`.
    pub fn active_features(
        &self,
        hook: HookPoint,
        top_k: Option<usize>,
    ) -> Result<ActiveFeatures, RuntimeError> {
        let features = self.features.get(&hook).ok_or_else(|| RuntimeError::NotTracked {
            hook,
            tracked: self.features.keys().copied().collect(),
        })?;
        Ok(self.active(features, top_k))
    }

    /// Returns the active features of each token at every tracked hook point, as
    /// [`active_features`](Self::active_features) does for one of them.
    pub fn all_active_features(&self, top_k: Option<usize>) -> BTreeMap<HookPoint, ActiveFeatures> {
        self.features.iter().map(|(&hook, features)| (hook, self.active(features, top_k))).collect()
    }

    fn active(&self, features: &SparseFeatures, top_k: Option<usize>) -> ActiveFeatures {
        let [_, seq, _] = self.logits.dims();
        ActiveFeatures::from_sparse(features, seq, top_k)
    }
}

impl InterpretableModel {
    /// Runs `tokens` in one pass, treating all of them as the prompt.
    ///
    /// # Errors
    /// [`RuntimeError`] if the plan cannot be followed or a token is outside the vocabulary.
    pub fn run(&self, tokens: &TokenBatch, plan: &Plan) -> Result<RunOutput, RuntimeError> {
        self.run_generated(tokens, tokens.seq(), plan)
    }

    /// Runs `tokens` in one pass, treating those from position `prompt_len` on as generated.
    ///
    /// With the same plan, the logits are those of a cached generation of the same tokens.
    ///
    /// # Errors
    /// [`RuntimeError`] if the plan cannot be followed, a token is outside the vocabulary, or the
    /// prompt is longer than the sequence; [`RuntimeError::NonFinite`] if an activation, a feature or a
    /// logit is NaN or infinite.
    pub fn run_generated(
        &self,
        tokens: &TokenBatch,
        prompt_len: usize,
        plan: &Plan,
    ) -> Result<RunOutput, RuntimeError> {
        if prompt_len > tokens.seq() {
            return Err(RuntimeError::PromptLen { prompt_len, len: tokens.seq() });
        }
        if let Some(condition) = plan.stop_when.first() {
            return Err(RuntimeError::StopInRun { condition: condition.to_string() });
        }
        let plan = plan.check(self)?;
        let positions = TokenPositions::new(tokens, 0, prompt_len, |id| self.is_special(id));
        for intervention in &plan.interventions {
            positions.check(intervention, 0)?;
        }
        let mut report = ReportBuilder::new(plan.interventions.len());
        let mut recorder = ActivationRecorder::new(plan.capture.iter().copied());
        let mut passes = [PlanPass::new(&plan, &positions, &mut report)];
        let mut router = PassRouter::new(&mut passes);
        let logits = self.gpt().forward(tokens, Logits::All, &mut (&mut recorder, &mut router))?;
        // The device is waited for once. A sum is NaN or infinite if one of its terms is.
        let sums = logits.clone().sum_dim(2).flatten(0, 2);
        let mut unread = router.take_unread();
        unread.push(sums);
        let mut numbers = read_together(unread).into_iter();
        router.receive(&mut numbers);
        let sums = numbers.next().expect("there is a vector for each tensor");
        let [pass] = passes;
        let first_or =
            |found| first_non_finite(self.gpt(), &plan, tokens, &positions).unwrap_or(found);
        let output =
            pass.finish().map_err(|found| RuntimeError::NonFinite { found: first_or(found) })?;
        if let Some(at) = sums.iter().position(|sum| !sum.is_finite()) {
            let (row, position) = (at / tokens.seq(), at % tokens.seq());
            let found = NonFinite { at: NonFiniteAt::Logits, row, position };
            return Err(RuntimeError::NonFinite { found: first_or(found) });
        }
        Ok(RunOutput {
            logits,
            features: output.features,
            captured: recorder.finish()?,
            applied: report.applied(&plan.interventions),
        })
    }

    /// Runs `tokens` with one feature multiplied by `strength`, as nanochat-SAE's `steer` does.
    ///
    /// Every position is steered, special tokens included, and the activation is replaced by the
    /// SAE's reconstruction.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model lacks the SAE or the SAE the feature.
    pub fn steer(
        &self,
        tokens: &TokenBatch,
        (hook, feature): (HookPoint, usize),
        strength: f32,
    ) -> Result<RunOutput, RuntimeError> {
        let intervention = Intervention {
            at: Positions::ALL,
            splice: Splice::Reconstruct,
            ..Intervention::new(hook, Target::Feature(feature), Op::Multiply(strength))
        };
        self.run(tokens, &Plan::new().intervene(intervention))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_model::{gpt, sae};

    const EARLY: HookPoint = HookPoint::ResidPost(0);
    const LATE: HookPoint = HookPoint::ResidPost(1);

    fn run(plan: Plan) -> RunOutput {
        let model = InterpretableModel::new(gpt()).with_sae(EARLY, sae(0.0)).unwrap();
        let model = model.with_sae(LATE, sae(0.0)).unwrap();
        let tokens = TokenBatch::new(&[vec![3, 1, 4], vec![1, 5, 9]]).unwrap();
        model.run(&tokens, &plan).unwrap()
    }

    #[test]
    fn track_all_tracks_every_sae_and_capture_tracked_goes_with_it() {
        let run = run(Plan::new().capture_tracked().track_all());

        assert_eq!(run.features.keys().collect::<Vec<_>>(), [&EARLY, &LATE]);
        let captured: Vec<_> = run.captured.iter().map(|(hook, _)| hook).collect();
        assert_eq!(captured, [EARLY, LATE]);
    }

    #[test]
    fn one_sae_at_two_hook_points_gives_the_features_of_both() {
        let tokens = TokenBatch::new(&[vec![3, 1, 4]]).unwrap();
        let shared = sae(0.0);
        let model = InterpretableModel::new(gpt()).with_sae(EARLY, shared.clone()).unwrap();
        let model = model.with_sae(LATE, shared).unwrap();

        let both = model.run(&tokens, &Plan::new().track_all()).unwrap().features;

        for hook in [EARLY, LATE] {
            let alone = InterpretableModel::new(gpt()).with_sae(hook, sae(0.0)).unwrap();
            let alone = alone.run(&tokens, &Plan::new().track_all()).unwrap().features;
            assert_eq!(both[&hook], alone[&hook], "{hook}");
        }
        assert_ne!(both[&EARLY], both[&LATE]);
    }

    #[test]
    fn active_features_keep_rows_and_positions() {
        let run = run(Plan::new().track(LATE));

        let all = run.active_features(LATE, None).unwrap();
        let top = run.active_features(LATE, Some(2)).unwrap();

        assert_eq!((all.batch(), all.seq()), (2, 3));
        assert_eq!(all.iter().count(), 6);
        for (row, position, pairs) in all.iter() {
            // The encoder is the identity, so the features are the activation's largest numbers.
            let sparse = run.features[&LATE].row(3 * row + position);
            assert!(pairs.is_sorted_by(|a, b| a.1 > b.1), "{pairs:?}");
            let mut by_index = pairs.to_vec();
            by_index.sort_by_key(|&(index, _)| index);
            assert_eq!(by_index, sparse.collect::<Vec<_>>());
            assert_eq!(all.at(row, position), pairs);
            assert_eq!(top.at(row, position), &pairs[..2]);
        }
        assert_ne!(all.at(0, 1), all.at(1, 0));
    }

    #[test]
    fn all_active_features_have_each_tracked_hook_point_and_no_other() {
        let run = run(Plan::new().track(EARLY));

        let all = run.all_active_features(Some(1));

        assert_eq!(all.keys().collect::<Vec<_>>(), [&EARLY]);
        assert_eq!(all[&EARLY], run.active_features(EARLY, Some(1)).unwrap());
        let error = run.active_features(LATE, None).unwrap_err();
        assert!(matches!(error, RuntimeError::NotTracked { hook: LATE, .. }), "{error}");
    }

    #[test]
    fn an_sae_that_cannot_encode_ends_the_run_with_its_hook_point() {
        let good = sae(0.0);
        let b_enc = good.weights().b_enc * f32::NAN;
        let weights = nanoscope_sae::SaeWeights { b_enc, ..good.weights() };
        let broken = nanoscope_sae::Sae::new(good.config().clone(), weights).unwrap();
        let model = InterpretableModel::new(gpt()).with_sae(LATE, broken).unwrap();
        let tokens = TokenBatch::new(&[vec![3, 1, 4]]).unwrap();

        let run = model.run(&tokens, &Plan::new().track(LATE));
        let features = model.features_at(LATE, &tokens);

        for error in [run.map(drop).unwrap_err(), features.map(drop).unwrap_err()] {
            let RuntimeError::NonFinite { found } = error else { panic!("{error}") };
            assert_eq!(found.at, NonFiniteAt::Features(LATE));
        }
        // An SAE that is not asked for is not encoded with.
        assert!(model.run(&tokens, &Plan::new()).is_ok());
    }
}
