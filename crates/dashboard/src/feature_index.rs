//! The index of an SAE's features, from the data of a dashboard.

use std::collections::BTreeMap;

use nanoscope_index::{FeatureEntry, FeatureIndex, IndexedExample, SharedText, token_text};
use nanoscope_tokenizer::Tokenizer;

use crate::dashboard::{Dashboard, FeaturePage};
use crate::gather::Example;
use crate::options::Options;

/// The number of top activations that are counted, and of tokens that are shown on either side of one.
const EXAMPLES: usize = 12;
const WINDOW: usize = 6;
/// The number of examples and of tokens of each kind in an entry.
const MAX_EXAMPLES: usize = 3;
const MAX_TOKENS: usize = 10;

impl Options {
    /// The options of a dashboard of all `d_sae` features that is only made for
    /// [`feature_index`](Dashboard::feature_index).
    pub fn for_index(d_sae: u32) -> Self {
        Self {
            examples: EXAMPLES,
            per_quantile: 0,
            window: WINDOW,
            neighbours: false,
            ..Self::new(0..d_sae)
        }
    }
}

impl Dashboard {
    /// The index of the features: their automatic names, top tokens, effects on the logits, statistics and
    /// three examples each.
    ///
    /// # Panics
    /// If the dashboard lacks a page of a feature.
    pub fn feature_index(&self, tokenizer: Option<&Tokenizer>) -> FeatureIndex {
        assert_eq!(self.features.len(), self.d_sae, "every feature has a page");
        let mut texts: BTreeMap<u32, SharedText> = BTreeMap::new();
        let mut text =
            |id: u32| texts.entry(id).or_insert_with(|| token_text(tokenizer, id).into()).clone();
        let entries = self.features.iter().map(|page| entry(page, &mut text)).collect();
        FeatureIndex::new(self.hook, self.fingerprint, self.tokens, entries)
    }
}

fn entry(page: &FeaturePage, text: &mut impl FnMut(u32) -> SharedText) -> FeatureEntry {
    let strongest = &page.activity.strongest;
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for example in strongest {
        *counts.entry(example.tokens[example.peak as usize]).or_default() += 1;
    }
    let mut counts: Vec<(u32, u32)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    counts.truncate(MAX_TOKENS);
    let effects = |effects: &[(u32, f32)], text: &mut dyn FnMut(u32) -> SharedText| {
        effects.iter().take(MAX_TOKENS).map(|&(id, effect)| (text(id), rounded(effect))).collect()
    };
    let (promoted, suppressed) = page
        .effect
        .as_ref()
        .map_or((&[][..], &[][..]), |effect| (&effect.promoted, &effect.suppressed));
    FeatureEntry {
        feature: page.feature,
        name: page.auto_label.as_str().into(),
        fires: page.fires,
        max: strongest.first().map_or(0.0, |example| rounded(example.value)),
        mean: rounded(page.mean as f32),
        fires_on: counts.into_iter().map(|(id, count)| (text(id), count)).collect(),
        writes: Vec::new(),
        texts: None,
        share: None,
        promotes: effects(promoted, text),
        suppresses: effects(suppressed, text),
        examples: strongest.iter().take(MAX_EXAMPLES).map(|shown| example(shown, text)).collect(),
    }
}

fn example(example: &Example, text: &mut impl FnMut(u32) -> SharedText) -> IndexedExample {
    IndexedExample {
        tokens: example.tokens.iter().map(|&id| text(id)).collect(),
        peak: example.peak,
        values: example.values.iter().map(|&(at, value)| (at, rounded(value))).collect(),
    }
}

/// `value` with three significant digits, which is what is shown.
fn rounded(value: f32) -> f32 {
    format!("{value:.2e}").parse().expect("a formatted number parses")
}
