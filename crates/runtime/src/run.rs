use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, Recording};
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::{Logits, TokenBatch};

use crate::error::RuntimeError;
use crate::model::InterpretableModel;
use crate::pass::plan_router::PlanRouter;
use crate::pass::report::{Applied, Report};
use crate::pass::token_positions::Context;
use crate::steering::{Intervention, Op, Plan, Splice, Target, Where};

/// What one forward pass gave.
#[derive(Debug)]
pub struct Run {
    /// `[batch, seq, vocab_size]`
    pub logits: Tensor<3>,
    /// Per tracked hook point, a row for each token: row `b · seq + t` is position `t` of row `b`.
    pub features: BTreeMap<HookPoint, SparseFeatures>,
    /// The captured activations.
    pub captured: Recording,
    /// Per intervention of the plan, in its order, where it was applied.
    pub applied: Vec<Applied>,
}

impl Run {
    /// For each token, the `top_k` strongest features at `hook`, the largest first.
    ///
    /// # Errors
    /// [`RuntimeError::NotTracked`] if the plan did not track `hook`.
    pub fn active_features(
        &self,
        hook: HookPoint,
        top_k: usize,
    ) -> Result<Vec<Vec<(u32, f32)>>, RuntimeError> {
        let features = self.features.get(&hook).ok_or_else(|| RuntimeError::NotTracked {
            hook,
            tracked: self.features.keys().copied().collect(),
        })?;
        Ok((0..features.rows()).map(|row| features.strongest(row, top_k)).collect())
    }
}

impl InterpretableModel {
    /// Runs `tokens` once, all of them being the prompt.
    ///
    /// # Errors
    /// [`RuntimeError`] if the plan cannot be followed or a token is outside the vocabulary.
    pub fn run(&self, tokens: &TokenBatch, plan: &Plan) -> Result<Run, RuntimeError> {
        self.run_generated(tokens, tokens.seq(), plan)
    }

    /// Runs `tokens` once, those from position `prompt_len` on being what was generated. Steered
    /// alike, this gives the logits that a cached generation of the same tokens had.
    ///
    /// # Errors
    /// [`RuntimeError`] if the plan cannot be followed, a token is outside the vocabulary or the
    /// prompt longer than the sequence.
    pub fn run_generated(
        &self,
        tokens: &TokenBatch,
        prompt_len: usize,
        plan: &Plan,
    ) -> Result<Run, RuntimeError> {
        if prompt_len > tokens.seq() {
            return Err(RuntimeError::PromptLen { prompt_len, len: tokens.seq() });
        }
        if let Some(condition) = plan.stop_when.first() {
            return Err(RuntimeError::StopInRun { condition: condition.to_string() });
        }
        let plan = plan.check(self)?;
        let context = Context::new(tokens, 0, prompt_len, |id| self.is_special(id));
        for intervention in &plan.interventions {
            context.check(intervention, 0)?;
        }
        let mut report = Report::new(plan.interventions.len());
        let mut router = PlanRouter::new(&plan, &context, &mut report);
        let logits = self.gpt().forward(tokens, Logits::All, &mut router)?;
        let output = router.finish()?;
        Ok(Run {
            logits,
            features: output.features,
            captured: output.captured,
            applied: report.applied(&plan.interventions),
        })
    }

    /// Runs `tokens` with one feature multiplied by `strength` at every position, special tokens
    /// too, the activation replaced by the SAE's reconstruction: nanochat-SAE's `steer`.
    ///
    /// # Errors
    /// [`RuntimeError`] if there is no such SAE or feature.
    pub fn steer(
        &self,
        tokens: &TokenBatch,
        (hook, feature): (HookPoint, usize),
        strength: f32,
    ) -> Result<Run, RuntimeError> {
        let intervention = Intervention {
            at: Where::ALL,
            splice: Splice::Reconstruct,
            ..Intervention::new(hook, Target::Feature(feature), Op::Multiply(strength))
        };
        self.run(tokens, &Plan::new().intervene(intervention))
    }
}
