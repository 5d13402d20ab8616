use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Intervention, RuntimeError};

use crate::automatic_name::{Firing, automatic_name};
use crate::continuations::added;
use crate::feature_index::FeatureIndex;
use crate::file::IndexFile;
use crate::promoted::promoted;
use crate::shared_text::SharedText;
use crate::shares::SteeringShares;
use crate::token_text::token_text;

/// The number of multiplications that naming the features of a token may take: about 10 ms. The demo's model
/// allows 286 features, GPT-2 seven; a model with 256,000 tokens and a residual stream of 2,304 none.
const MAX_PRODUCT: usize = 300_000_000;

/// The number of promoted tokens in a name.
const PROMOTED: usize = 2;

/// Automatic names of the features of a model's SAEs: from their indexes, or from the tokens that they
/// promote, which needs no text.
#[derive(Debug, Default)]
pub struct FeatureNames {
    indexes: BTreeMap<HookPoint, Stored>,
    computed: Mutex<HashMap<(HookPoint, u32), SharedText>>,
}

/// The index of an SAE.
#[derive(Debug, Clone)]
enum Stored {
    InMemory(Arc<FeatureIndex>),
    /// A file, which is read when it is first needed.
    InFile(IndexFile, OnceLock<Result<Arc<FeatureIndex>, String>>),
}

impl FeatureNames {
    /// Names without an index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the index of an SAE, which replaces an earlier one at its hook point.
    pub fn insert(&mut self, index: FeatureIndex) {
        self.indexes.insert(index.hook, Stored::InMemory(Arc::new(index)));
    }

    /// Adds the index in a file, which is read when it is first needed. One that cannot be read or belongs to
    /// another SAE counts as absent, and is among the [`problems`](Self::problems).
    pub fn insert_file(&mut self, file: IndexFile) {
        self.indexes.insert(file.hook, Stored::InFile(file, OnceLock::new()));
    }

    /// Reads all indexes, which are otherwise read when they are first needed.
    pub fn read_all(&self) {
        for &hook in self.indexes.keys() {
            self.index(hook);
        }
    }

    /// The index of the SAE at `hook`.
    pub fn index(&self, hook: HookPoint) -> Option<&Arc<FeatureIndex>> {
        let (file, read) = match self.indexes.get(&hook)? {
            Stored::InMemory(index) => return Some(index),
            Stored::InFile(file, read) => (file, read),
        };
        let read_file = || {
            FeatureIndex::read(file).map(Arc::new).map_err(|error| match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            })
        };
        read.get_or_init(read_file).as_ref().ok()
    }

    /// The share of the norm with which the SAE at `hook` is steered by default: the measured one, or
    /// [`SteeringShares::UNMEASURED`].
    pub fn default_share(&self, hook: HookPoint) -> f32 {
        let shares = self.index(hook).and_then(|index| index.shares.as_ref());
        shares.map_or(SteeringShares::UNMEASURED, |shares| shares.default)
    }

    /// The intervention that turns a feature up: its direction is added by the share of the norm that was
    /// measured for it, or by the [default share](Self::default_share) of its SAE.
    pub fn turn_up(&self, hook: HookPoint, feature: u32) -> Intervention {
        let own = self.index(hook).and_then(|index| index.get(feature)?.share);
        added(hook, feature as usize, own.unwrap_or_else(|| self.default_share(hook)))
    }

    /// The reasons why indexes that were needed could not be read.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.indexes.values().filter_map(|stored| match stored {
            Stored::InMemory(_) => None,
            Stored::InFile(_, read) => read.get()?.as_ref().err().map(String::as_str),
        })
    }

    /// The automatic name of a feature, if it is in an index or was computed by
    /// [`prepare`](Self::prepare).
    pub fn get(&self, hook: HookPoint, feature: u32) -> Option<SharedText> {
        if let Some(index) = self.index(hook) {
            return Some(index.get(feature)?.name.clone());
        }
        let computed = self.computed.lock().unwrap_or_else(PoisonError::into_inner);
        computed.get(&(hook, feature)).cloned()
    }

    /// Computes the names of `features` of the SAE at `hook` that are not known yet, in one product with
    /// the unembedding. In front of a large vocabulary only the first features are named, or none, so that a
    /// token is not held up; [`name`](Self::name) names one feature in any case.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model lacks the SAE or the SAE a feature.
    pub fn prepare(
        &self,
        model: &InterpretableModel,
        hook: HookPoint,
        features: impl IntoIterator<Item = u32>,
    ) -> Result<(), RuntimeError> {
        if let Some(index) = self.index(hook) {
            let d_sae = model.sae(hook)?.config().d_sae();
            let refused = |source| RuntimeError::NoSuchFeature { hook, source };
            let check = |feature: u32| {
                model.sae(hook)?.config().check_feature(feature as usize).map_err(refused)
            };
            return features
                .into_iter()
                .filter(|&feature| feature as usize >= index.d_sae().min(d_sae))
                .try_for_each(check);
        }
        let shape = &model.gpt().config().shape;
        let most = MAX_PRODUCT / (shape.n_embd * shape.vocab_size).max(1);
        self.compute(model, hook, features, most)
    }

    /// Computes the names of the first `most` of `features` that are not known yet.
    fn compute(
        &self,
        model: &InterpretableModel,
        hook: HookPoint,
        features: impl IntoIterator<Item = u32>,
        most: usize,
    ) -> Result<(), RuntimeError> {
        let missing: Vec<usize> = {
            let computed = self.computed.lock().unwrap_or_else(PoisonError::into_inner);
            let is_missing = |&feature: &u32| !computed.contains_key(&(hook, feature));
            features.into_iter().filter(is_missing).take(most).map(|f| f as usize).collect()
        };
        let effects = promoted(model, hook, &missing, PROMOTED)?;
        let mut computed = self.computed.lock().unwrap_or_else(PoisonError::into_inner);
        for (feature, effect) in missing.into_iter().zip(effects) {
            let text = |&(id, _): &(u32, f32)| token_text(model.tokenizer(), id);
            let tokens: Vec<String> = effect.promoted.iter().map(text).collect();
            let name = automatic_name(Firing::Unknown, &tokens);
            computed.insert((hook, feature as u32), name.into());
        }
        Ok(())
    }

    /// The automatic name of a feature, which is computed if it is not known yet.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn name(
        &self,
        model: &InterpretableModel,
        hook: HookPoint,
        feature: u32,
    ) -> Result<SharedText, RuntimeError> {
        match self.index(hook) {
            Some(_) => self.prepare(model, hook, [feature])?,
            None => self.compute(model, hook, [feature], 1)?,
        }
        Ok(self.get(hook, feature).unwrap_or_default())
    }
}

impl Clone for FeatureNames {
    fn clone(&self) -> Self {
        let computed = self.computed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { indexes: self.indexes.clone(), computed: Mutex::new(computed) }
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};

    use super::*;
    use crate::entry::FeatureEntry;

    fn model(hook: HookPoint) -> InterpretableModel {
        let device = test_device();
        let gpt = tiny_gpt(TINY_SHAPE, &device);
        let width = gpt.config().hook_shape(hook).width().unwrap();
        InterpretableModel::new(gpt).with_sae(hook, identity_sae(width, 4, &device)).unwrap()
    }

    #[test]
    fn a_feature_without_an_index_is_named_by_the_tokens_that_it_promotes() {
        let hook = HookPoint::ResidPost(1);
        let model = model(hook);
        let names = FeatureNames::new();
        assert_eq!(names.get(hook, 3), None);

        let name = names.name(&model, hook, 3).unwrap();

        let effects = promoted(&model, hook, &[3], 2).unwrap();
        let [(first, _), (second, _)] = effects[0].promoted[..] else { panic!("two tokens") };
        assert_eq!(&*name, format!("promotes <{first}> <{second}>"));
        assert_eq!(names.get(hook, 3), Some(name));
        assert!(names.name(&model, hook, 64).is_err());
    }

    #[test]
    fn an_sae_that_does_not_write_to_the_stream_says_that_no_text_was_read() {
        let hook = HookPoint::MlpPost(0);
        let name = FeatureNames::new().name(&model(hook), hook, 3).unwrap();
        assert_eq!(&*name, "no text was indexed");
    }

    #[test]
    fn an_index_comes_first() {
        let hook = HookPoint::ResidPost(1);
        let entry =
            |feature| FeatureEntry { feature, name: "from it".into(), ..Default::default() };
        let mut names = FeatureNames::new();
        names.insert(FeatureIndex::new(hook, 1, 9, (0..64).map(entry).collect()));

        assert_eq!(&*names.name(&model(hook), hook, 3).unwrap(), "from it");
    }
}
