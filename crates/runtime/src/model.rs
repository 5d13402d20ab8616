use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::Gpt;

use crate::error::RuntimeError;

/// A transformer with SAEs at some of its hook points, and its tokenizer.
///
/// Running the model does not change it. It can run any number of plans, one after another or
/// concurrently.
#[derive(Debug)]
pub struct InterpretableModel {
    gpt: Gpt,
    saes: BTreeMap<HookPoint, Sae>,
    /// The hook point that each transcoder writes, by the one that it reads.
    writes: BTreeMap<HookPoint, HookPoint>,
    tokenizer: Option<Tokenizer>,
}

impl InterpretableModel {
    /// Creates a model without SAEs or a tokenizer. Without a tokenizer no token is special.
    pub fn new(gpt: Gpt) -> Self {
        Self { gpt, saes: BTreeMap::new(), writes: BTreeMap::new(), tokenizer: None }
    }

    /// Sets the tokenizer, replacing an earlier one.
    ///
    /// # Errors
    /// [`RuntimeError::VocabMismatch`] if it is nanochat's and its vocabulary is larger than the model's; the
    /// model is then unchanged. A smaller one is usual, because embeddings are padded to a round number of
    /// rows. Another family's can have ids that the model cannot run, as Gemma 3's for images; a text with
    /// one is refused when it is run.
    pub fn set_tokenizer(&mut self, tokenizer: Tokenizer) -> Result<(), RuntimeError> {
        let expected = self.gpt.config().shape.vocab_size;
        let found = tokenizer.vocab_size();
        if found > expected && !tokenizer.is_hugging_face() {
            return Err(RuntimeError::VocabMismatch { expected, found });
        }
        self.tokenizer = Some(tokenizer);
        Ok(())
    }

    /// Adds `sae` at `hook`.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model lacks the hook point `hook`, the width of the activation there
    /// differs from the SAE's `d_in` or `d_out`, the SAE is a transcoder
    /// ([`SaeConfig::is_transcoder`](nanoscope_sae::SaeConfig::is_transcoder)), or there is already an
    /// SAE at `hook`. The model is then unchanged. The SAE is dropped; clones share its weights, so keeping one is cheap.
    pub fn add_sae(&mut self, hook: HookPoint, sae: Sae) -> Result<(), RuntimeError> {
        self.check_sae(hook, hook, &sae)?;
        if sae.config().is_transcoder() {
            return Err(RuntimeError::Transcoder { hook });
        }
        self.saes.insert(hook, sae);
        Ok(())
    }

    /// Adds a transcoder: `sae` reads the activation at `read` and reconstructs the one at
    /// `write`. It is identified by `read`: its features are tracked there, and interventions
    /// name that hook point. Their effect lands at `write`.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model lacks one of the hook points, `write` is not after `read`, the
    /// width of an activation differs from the transcoder's `d_in` or `d_out`, or there is already
    /// an SAE at `read`. The model is then unchanged and the transcoder dropped, as by
    /// [`add_sae`](Self::add_sae).
    pub fn add_transcoder(
        &mut self,
        read: HookPoint,
        write: HookPoint,
        sae: Sae,
    ) -> Result<(), RuntimeError> {
        if write <= read {
            return Err(RuntimeError::TranscoderOrder { read, write });
        }
        self.check_sae(read, write, &sae)?;
        self.saes.insert(read, sae);
        self.writes.insert(read, write);
        Ok(())
    }

    /// Replaces the transformer by one of the same sizes, which computes the same logits.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn set_gpt(&mut self, gpt: Gpt) {
        assert_eq!(gpt.config().shape, self.gpt.config().shape, "the same model");
        self.gpt = gpt;
    }

    /// Removes the SAE or transcoder that reads `hook`, and returns it.
    pub fn remove_sae(&mut self, hook: HookPoint) -> Option<Sae> {
        self.writes.remove(&hook);
        self.saes.remove(&hook)
    }

    /// Returns the model with a tokenizer.
    ///
    /// # Errors
    /// As [`set_tokenizer`](Self::set_tokenizer), which does not consume the model.
    pub fn with_tokenizer(mut self, tokenizer: Tokenizer) -> Result<Self, RuntimeError> {
        self.set_tokenizer(tokenizer)?;
        Ok(self)
    }

    /// Returns the model with `sae` at `hook`.
    ///
    /// # Errors
    /// As [`add_sae`](Self::add_sae), which does not consume the model.
    pub fn with_sae(mut self, hook: HookPoint, sae: Sae) -> Result<Self, RuntimeError> {
        self.add_sae(hook, sae)?;
        Ok(self)
    }

    /// Returns the model with a transcoder from `read` to `write`.
    ///
    /// # Errors
    /// As [`add_transcoder`](Self::add_transcoder), which does not consume the model.
    pub fn with_transcoder(
        mut self,
        read: HookPoint,
        write: HookPoint,
        sae: Sae,
    ) -> Result<Self, RuntimeError> {
        self.add_transcoder(read, write, sae)?;
        Ok(self)
    }

    /// The transformer.
    pub fn gpt(&self) -> &Gpt {
        &self.gpt
    }

    /// The SAEs by hook point, in execution order; transcoders by the hook point that they read.
    pub fn saes(&self) -> &BTreeMap<HookPoint, Sae> {
        &self.saes
    }

    /// The SAE at `hook`; a transcoder is found at the hook point that it reads.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchHook`] if the model lacks the hook point; [`RuntimeError::NoSae`] if
    /// it has no SAE there.
    pub fn sae(&self, hook: HookPoint) -> Result<&Sae, RuntimeError> {
        self.check_hook(hook)?;
        self.saes
            .get(&hook)
            .ok_or_else(|| RuntimeError::NoSae { hook, have: self.saes.keys().copied().collect() })
    }

    /// The hook point that the SAE at `hook` writes: `hook` itself, unless it is a transcoder.
    pub fn write_point(&self, hook: HookPoint) -> HookPoint {
        self.writes.get(&hook).copied().unwrap_or(hook)
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The text of a token, or its id as `<id>` if the model has no tokenizer.
    pub fn token_text(&self, id: u32) -> String {
        let text = self.tokenizer().and_then(|tokenizer| tokenizer.token_text(id));
        text.map_or_else(|| format!("<{id}>"), std::borrow::Cow::into_owned)
    }

    /// The number of positions in a sequence, prompt and generated tokens together.
    pub fn context_len(&self) -> usize {
        self.gpt.config().shape.sequence_len
    }

    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.tokenizer.as_ref().is_some_and(|tokenizer| tokenizer.is_special(id))
    }

    pub(crate) fn check_hook(&self, hook: HookPoint) -> Result<(), RuntimeError> {
        let n_layer = self.gpt.config().shape.n_layer;
        if hook.layer().is_some_and(|layer| layer >= n_layer) {
            return Err(RuntimeError::NoSuchHook { hook, n_layer });
        }
        match self.gpt.config().missing(hook) {
            Some(reason) => Err(RuntimeError::AbsentHook { hook, reason }),
            None => Ok(()),
        }
    }

    /// Checks that `sae` can read the activation at `read` and write the one at `write`.
    fn check_sae(&self, read: HookPoint, write: HookPoint, sae: &Sae) -> Result<(), RuntimeError> {
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
        if self.saes.contains_key(&read) {
            return Err(RuntimeError::DuplicateSae { hook: read });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::{TINY_SHAPE, test_device, tiny_gpt};
    use nanoscope_tokenizer::TokenizerParts;
    use nanoscope_transformer::GptShape;

    use super::*;
    use crate::test_model::{WIDTH, gpt, sae};

    const EARLY: HookPoint = HookPoint::ResidPost(0);
    const LATE: HookPoint = HookPoint::ResidPost(1);

    #[test]
    fn a_refused_sae_leaves_the_model_as_it_was() {
        let mut model = InterpretableModel::new(gpt());
        model.add_sae(EARLY, sae(0.0)).unwrap();
        let before = model.sae(EARLY).unwrap().clone();

        let again = model.add_sae(EARLY, sae(0.5)).unwrap_err();
        let no_hook = model.add_sae(HookPoint::ResidPost(9), sae(0.0)).unwrap_err();
        let width = model.add_sae(HookPoint::MlpPost(1), sae(0.0)).unwrap_err();

        assert!(matches!(again, RuntimeError::DuplicateSae { hook: EARLY }), "{again}");
        assert!(matches!(no_hook, RuntimeError::NoSuchHook { n_layer: 2, .. }), "{no_hook}");
        assert!(matches!(width, RuntimeError::WidthMismatch { found: WIDTH, .. }), "{width}");
        assert_eq!(model.saes().keys().collect::<Vec<_>>(), [&EARLY]);
        let decoder = |sae: &Sae| sae.direction(0).unwrap().into_data();
        assert_eq!(decoder(model.sae(EARLY).unwrap()), decoder(&before));
        model.add_sae(LATE, sae(0.0)).unwrap();
    }

    #[test]
    fn a_refused_transcoder_leaves_the_model_as_it_was() {
        let mut model = InterpretableModel::new(gpt());
        model.add_sae(EARLY, sae(0.0)).unwrap();

        let order = model.add_transcoder(LATE, EARLY, sae(0.0)).unwrap_err();
        let again = model.add_transcoder(EARLY, LATE, sae(0.0)).unwrap_err();

        assert!(matches!(order, RuntimeError::TranscoderOrder { read: LATE, .. }), "{order}");
        assert!(matches!(again, RuntimeError::DuplicateSae { hook: EARLY }), "{again}");
        assert_eq!((model.write_point(EARLY), model.saes().len()), (EARLY, 1));
        model.add_transcoder(HookPoint::AttnOut(1), LATE, sae(0.0)).unwrap();
        assert_eq!(model.write_point(HookPoint::AttnOut(1)), LATE);
    }

    #[test]
    fn a_transcoder_is_not_added_at_one_hook_point_even_if_its_widths_are_the_same() {
        let sae = sae(0.0);
        let config = sae.config().clone().into_transcoder();
        let transcoder = Sae::new(config, sae.weights()).unwrap();
        let mut model = InterpretableModel::new(gpt());

        let error = model.add_sae(EARLY, transcoder.clone()).unwrap_err();

        assert!(matches!(error, RuntimeError::Transcoder { hook: EARLY }), "{error}");
        assert!(model.saes().is_empty());
        model.add_transcoder(EARLY, LATE, transcoder).unwrap();
        assert_eq!(model.write_point(EARLY), LATE);
    }

    #[test]
    fn a_vocabulary_smaller_than_the_embedding_is_accepted() {
        let parts = TokenizerParts {
            pattern: r"\s+|\S+".to_owned(),
            ranks: (0..=255).map(|byte| (vec![byte], u32::from(byte))).collect(),
            special_tokens: Vec::new(),
        };
        let gpt = tiny_gpt(GptShape { vocab_size: 300, ..TINY_SHAPE }, &test_device());

        let model = InterpretableModel::new(gpt);

        assert!(model.with_tokenizer(Tokenizer::new(parts).unwrap()).is_ok());
    }

    #[test]
    fn a_refused_tokenizer_leaves_the_model_as_it_was() {
        let parts = TokenizerParts {
            pattern: r"\s+|\S+".to_owned(),
            ranks: (0..=255).map(|byte| (vec![byte], u32::from(byte))).collect(),
            special_tokens: Vec::new(),
        };
        let mut model = InterpretableModel::new(gpt());

        let error = model.set_tokenizer(Tokenizer::new(parts).unwrap()).unwrap_err();

        let vocab =
            |error| matches!(error, RuntimeError::VocabMismatch { expected: 50, found: 256 });
        assert!(vocab(error) && model.tokenizer().is_none());
    }
}
