use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::Gpt;

use crate::error::RuntimeError;

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
