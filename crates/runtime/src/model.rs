use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, Recording};
use nanoscope_sae::{Sae, SparseFeatures};
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::{Gpt, Logits, TokenBatch};

use crate::error::RuntimeError;
use crate::generation::sampling::Sampling;
use crate::generation::state::Generation;
use crate::pass::plan_router::PlanRouter;
use crate::pass::report::{Applied, Report};
use crate::pass::token_positions::Context;
use crate::steering::intervention::{Intervention, Splice, Target};
use crate::steering::op::Op;
use crate::steering::plan::Plan;
use crate::steering::positions::Where;

/// A model with SAEs at some of its hook points, and the tokenizer of its texts.
///
/// Running it changes nothing in it; one model serves any number of plans, one after another or at
/// the same time.
#[derive(Debug)]
pub struct InterpretableModel {
    gpt: Gpt,
    saes: BTreeMap<HookPoint, Sae>,
    /// Of those that are transcoders, the point that they write.
    writes: BTreeMap<HookPoint, HookPoint>,
    tokenizer: Option<Tokenizer>,
}

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
    /// A model without SAEs and tokenizer. Without a tokenizer no token is special.
    pub fn new(gpt: Gpt) -> Self {
        Self { gpt, saes: BTreeMap::new(), writes: BTreeMap::new(), tokenizer: None }
    }

    /// The same with a tokenizer.
    ///
    /// # Errors
    /// [`RuntimeError::VocabMismatch`] if it is not this model's.
    pub fn with_tokenizer(self, tokenizer: Tokenizer) -> Result<Self, RuntimeError> {
        let expected = self.gpt.config().shape.vocab_size;
        let found = tokenizer.vocab_size();
        if found != expected {
            return Err(RuntimeError::VocabMismatch { expected, found });
        }
        Ok(Self { tokenizer: Some(tokenizer), ..self })
    }

    /// The same with `sae` at `hook`.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model has no such point, the activation there has another width than
    /// the SAE's `d_in` or `d_out`, or there is an SAE already.
    pub fn with_sae(self, hook: HookPoint, sae: Sae) -> Result<Self, RuntimeError> {
        self.with_dictionary(hook, hook, sae)
    }

    /// The same with a transcoder: `sae` reads the activation at `read` and stands for the one at
    /// `write`. It is known by the point that it reads: there its features are tracked, and
    /// interventions name it; their effect lands at `write`.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model has no such points, `write` is not after `read`, an activation
    /// has another width than the transcoder's `d_in` or `d_out`, or there is an SAE at `read`
    /// already.
    pub fn with_transcoder(
        self,
        read: HookPoint,
        write: HookPoint,
        sae: Sae,
    ) -> Result<Self, RuntimeError> {
        if write <= read {
            return Err(RuntimeError::TranscoderOrder { read, write });
        }
        let mut model = self.with_dictionary(read, write, sae)?;
        model.writes.insert(read, write);
        Ok(model)
    }

    fn with_dictionary(
        mut self,
        read: HookPoint,
        write: HookPoint,
        sae: Sae,
    ) -> Result<Self, RuntimeError> {
        self.check_hook(read)?;
        self.check_hook(write)?;
        let width = |hook| self.gpt.config().hook_shape(hook).width();
        let (expected, found) = (width(read), sae.config().d_in());
        if expected != Some(found) {
            return Err(RuntimeError::WidthMismatch { hook: read, expected, found });
        }
        let (expected, found) = (width(write), sae.config().d_out());
        if expected != Some(found) {
            return Err(RuntimeError::OutputWidthMismatch { hook: write, expected, found });
        }
        if self.saes.insert(read, sae).is_some() {
            return Err(RuntimeError::DuplicateSae { hook: read });
        }
        Ok(self)
    }

    /// The transformer.
    pub fn gpt(&self) -> &Gpt {
        &self.gpt
    }

    /// The SAEs by hook point, in execution order; transcoders by the point that they read.
    pub fn saes(&self) -> &BTreeMap<HookPoint, Sae> {
        &self.saes
    }

    /// The point that the SAE at `hook` writes: `hook` itself, unless it is a transcoder.
    pub fn write_point(&self, hook: HookPoint) -> HookPoint {
        self.writes.get(&hook).copied().unwrap_or(hook)
    }

    /// The tokenizer, if there is one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Positions that a generation can hold.
    pub fn context_len(&self) -> usize {
        self.gpt.config().shape.sequence_len
    }

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
        let logits = self.gpt.forward(tokens, Logits::All, &mut router)?;
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

    /// Generates text after `prompt`, a token at a time, with a key-value cache.
    ///
    /// The prompt is run at once; tokens are computed as the iterator is asked for them.
    ///
    /// # Errors
    /// [`RuntimeError`] if the plan cannot be followed, a sampling parameter is out of its range,
    /// or the prompt is empty, too long or outside the vocabulary.
    pub fn generate<'m>(
        &'m self,
        prompt: &[u32],
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Generation<'m>, RuntimeError> {
        Generation::start(self, prompt, plan, sampling)
    }

    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.tokenizer.as_ref().is_some_and(|tokenizer| tokenizer.is_special(id))
    }

    pub(crate) fn check_hook(&self, hook: HookPoint) -> Result<(), RuntimeError> {
        let n_layer = self.gpt.config().shape.n_layer;
        if hook.layer().is_none_or(|layer| layer < n_layer) {
            Ok(())
        } else {
            Err(RuntimeError::NoSuchHook { hook, n_layer })
        }
    }

    pub(crate) fn sae_at(&self, hook: HookPoint) -> Result<&Sae, RuntimeError> {
        self.check_hook(hook)?;
        self.saes
            .get(&hook)
            .ok_or_else(|| RuntimeError::NoSae { hook, have: self.saes.keys().copied().collect() })
    }
}
