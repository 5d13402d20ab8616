use serde::{Deserialize, Serialize};

use crate::continuations::is_share;
use crate::shared_text::SharedText;

/// The index's data about one feature.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureEntry {
    /// The feature's index.
    pub feature: u32,
    /// Its automatic name.
    pub name: SharedText,
    /// The number of tokens on which it fires.
    pub fires: u64,
    /// Its max activation on the text.
    pub max: f32,
    /// Its mean activation over all tokens, including those on which it does not fire.
    pub mean: f32,
    /// The tokens at the peaks of its top activations with their counts, the most frequent first.
    #[serde(default)]
    pub fires_on: Vec<(SharedText, u32)>,
    /// The tokens that it makes more likely, with the direct effect on the logit, the largest first.
    #[serde(default)]
    pub promotes: Vec<(SharedText, f32)>,
    /// The tokens that it makes less likely, with the direct effect on the logit, the smallest first.
    #[serde(default)]
    pub suppresses: Vec<(SharedText, f32)>,
    /// The words, in lower case, that texts contain more often with the feature turned up, with the number of
    /// texts, the most distinctive first; see [`FeatureIndex::measure_writing`](crate::FeatureIndex::measure_writing).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<(SharedText, u32)>,
    /// The number of texts that were written with it, if not that of the other features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<u32>,
    /// The share of the norm to turn it up by, if it was measured for the feature itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f32>,
    /// Its top activations, the largest first.
    #[serde(default)]
    pub examples: Vec<IndexedExample>,
}

/// The largest number of bytes of a text, and of items of a list.
const MAX_TEXT: usize = 1024;
const MAX_LIST: usize = 256;

/// A token on which a feature fires, with the text around it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedExample {
    /// The texts of the tokens.
    pub tokens: Vec<SharedText>,
    /// The index of the token.
    pub peak: u32,
    /// Indices into `tokens` with the activations there, in ascending order.
    pub values: Vec<(u32, f32)>,
}

impl FeatureEntry {
    /// The texts of the entry, to be shared between entries.
    pub(crate) fn texts_mut(&mut self) -> impl Iterator<Item = &mut SharedText> {
        let counted = self.fires_on.iter_mut().chain(&mut self.writes).map(|(text, _)| text);
        let effects = self.promotes.iter_mut().chain(&mut self.suppresses).map(|(text, _)| text);
        let examples = self.examples.iter_mut().flat_map(|example| &mut example.tokens);
        counted.chain(effects).chain(examples)
    }

    /// Returns whether it promotes `word`, which is in lower case.
    pub(crate) fn promotes_word(&self, word: &str) -> bool {
        self.promotes.iter().any(|(token, _)| token.trim().to_lowercase() == word)
    }

    /// The reason why the entry cannot be that of `feature`.
    pub(crate) fn problem(&self, feature: u32) -> Option<&'static str> {
        let finite =
            |values: &[(SharedText, f32)]| values.iter().all(|(_, value)| value.is_finite());
        let example = |example: &IndexedExample| {
            let len = example.tokens.len();
            let inside = |&(at, value): &(u32, f32)| (at as usize) < len && value.is_finite();
            (example.peak as usize) < len && example.values.iter().all(inside)
        };
        let short = |text: &SharedText| text.len() <= MAX_TEXT;
        let counted = |counted: &[(SharedText, u32)]| {
            counted.len() <= MAX_LIST && counted.iter().all(|(text, _)| short(text))
        };
        let effects = |effects: &[(SharedText, f32)]| {
            effects.len() <= MAX_LIST && effects.iter().all(|(text, _)| short(text))
        };
        let few = |example: &IndexedExample| {
            example.tokens.len() <= MAX_LIST && example.tokens.iter().all(short)
        };
        if self.feature != feature {
            Some("a feature is missing or repeated")
        } else if !(self.max.is_finite() && self.mean.is_finite()) {
            Some("an activation is not finite")
        } else if self.share.is_some_and(|share| !is_share(share)) {
            Some("its share of the norm is out of range")
        } else if self.texts == Some(0) {
            Some("it was measured on no texts")
        } else if !(finite(&self.promotes) && finite(&self.suppresses)) {
            Some("an effect is not finite")
        } else if !(short(&self.name)
            && counted(&self.fires_on)
            && counted(&self.writes)
            && effects(&self.promotes)
            && effects(&self.suppresses)
            && self.examples.len() <= MAX_LIST
            && self.examples.iter().all(few))
        {
            Some("a text or a list is too long")
        } else if !self.examples.iter().all(example) {
            Some("an example points outside of its tokens")
        } else {
            None
        }
    }
}
