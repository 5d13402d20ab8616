use std::collections::HashMap;
use std::sync::OnceLock;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, RuntimeError};
use nanoscope_tokenizer::Tokenizer;

use super::evidence::{Evidence, Hit};
use super::prior::prior;
use super::promotion::promoters;
use super::word::WordTokens;
use crate::feature_index::FeatureIndex;
use crate::names::FeatureNames;
use crate::token_text::token_text;

/// Searches for features by a word.
///
/// A feature is found by the words of its label, the tokens that it promotes (its decoder row through the
/// unembedding) and those on which it fires (from its index). Features that write the word when they are turned
/// up come first: they are ranked by the probability that the word then has, estimated from the direct effect
/// on the logits and from how often the model uses each token.
#[derive(Debug, Default)]
pub struct Search {
    /// The texts of all tokens and their mean probabilities, made by the first search.
    vocabulary: OnceLock<Vocabulary>,
}

#[derive(Debug)]
struct Vocabulary {
    texts: Vec<String>,
    prior: Vec<f32>,
}

/// The SAEs and the kinds of evidence that a search considers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchOptions {
    /// The hook point of the only SAE to search; `None` for all.
    pub hook: Option<HookPoint>,
    /// True if labels count.
    pub labels: bool,
    /// True if promoted tokens count.
    pub promotes: bool,
    /// True if the tokens on which a feature fires count.
    pub fires_on: bool,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { hook: None, labels: true, promotes: true, fires_on: true }
    }
}

/// The probability of a word at which promoting it counts half.
const HALF_PROBABILITY: f32 = 0.005;
/// The weights of the other evidence, relative to promoting a word with certainty.
const LABEL_WEIGHT: f32 = 0.1;
const PARTIAL_LABEL_WEIGHT: f32 = 0.05;
const FIRES_WEIGHT: f32 = 0.15;
/// The weight of a word's first piece: it also begins other words.
const PIECE_WEIGHT: f32 = 0.3;
/// The smallest share of a feature's top activations that must be on a word.
const MIN_FIRES: f32 = 0.15;

impl Search {
    /// Returns the features of `model` that `query` finds, best first. An index such as `1909` finds the
    /// features that have it, `3:1909` the one in block 3. Of several words, all must be found.
    ///
    /// `label` returns the label of a feature that a person gave. The first search generates a few short
    /// texts.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model cannot be run.
    pub fn find(
        &self,
        model: &InterpretableModel,
        names: &FeatureNames,
        query: &str,
        options: &SearchOptions,
        label: impl Fn(HookPoint, u32) -> Option<String>,
    ) -> Result<Vec<Hit>, RuntimeError> {
        let hooks: Vec<HookPoint> = match options.hook {
            Some(hook) => vec![hook],
            None => model.saes().keys().copied().collect(),
        };
        if let Some((layer, feature)) = index(query) {
            return Ok(by_index(model, &hooks, layer, feature));
        }
        let mut found: HashMap<(HookPoint, u32), (f32, Vec<Evidence>, usize)> = HashMap::new();
        let words: Vec<&str> = query.split_whitespace().collect();
        for word in &words {
            for (key, score, evidence) in
                self.word(model, names, (word, &hooks), options, &label)?
            {
                let (sum, all, matched) = found.entry(key).or_default();
                *sum += score;
                all.extend(evidence);
                *matched += 1;
            }
        }
        let hit =
            |((hook, feature), (sum, evidence, matched)): (_, (f32, Vec<Evidence>, usize))| {
                let score = sum / words.len() as f32;
                (matched == words.len()).then_some(Hit { hook, feature, score, evidence })
            };
        let mut hits: Vec<Hit> = found.into_iter().filter_map(hit).collect();
        hits.sort_by(|a, b| {
            // The deeper SAE has the more direct effect on the text.
            b.score.total_cmp(&a.score).then(b.hook.cmp(&a.hook)).then(a.feature.cmp(&b.feature))
        });
        Ok(hits)
    }

    /// The features that one word finds, with their scores and reasons.
    #[allow(clippy::type_complexity)]
    fn word(
        &self,
        model: &InterpretableModel,
        names: &FeatureNames,
        (word, hooks): (&str, &[HookPoint]),
        options: &SearchOptions,
        label: &impl Fn(HookPoint, u32) -> Option<String>,
    ) -> Result<Vec<((HookPoint, u32), f32, Vec<Evidence>)>, RuntimeError> {
        let tokens = match model.tokenizer() {
            Some(tokenizer) => {
                let vocabulary = self.vocabulary(model, tokenizer)?;
                Some((WordTokens::new(word, &vocabulary.texts, tokenizer), vocabulary))
            }
            None => None,
        };
        let word = word.to_lowercase();
        let mut found = Vec::new();
        for &hook in hooks {
            let mut of_hook: HashMap<u32, (f32, Vec<Evidence>)> = HashMap::new();
            if let Some((tokens, vocabulary)) = &tokens {
                let share = names.default_share(hook);
                let weight = if tokens.is_piece { PIECE_WEIGHT } else { 1.0 };
                if options.promotes {
                    for promoter in promoters(model, hook, tokens, &vocabulary.prior, share)? {
                        let likely = promoter.probability;
                        let (score, evidence) = of_hook.entry(promoter.feature).or_default();
                        *score += weight * likely / (likely + HALF_PROBABILITY);
                        let token = vocabulary.texts[promoter.token as usize].clone();
                        evidence.push(Evidence::Promotes { token, effect: promoter.effect });
                    }
                }
                let index = names.index(hook).filter(|_| options.fires_on);
                for (feature, share, reason) in firing(index.map(AsRef::as_ref), tokens) {
                    let (score, evidence) = of_hook.entry(feature).or_default();
                    *score += FIRES_WEIGHT * share;
                    evidence.push(reason);
                }
            }
            if options.labels {
                for feature in 0..model.sae(hook)?.config().d_sae() as u32 {
                    let Some(label) = label(hook, feature) else { continue };
                    if let Some(weight) = label_weight(&label, &word) {
                        let (score, evidence) = of_hook.entry(feature).or_default();
                        *score += weight;
                        evidence.push(Evidence::Label { word: word.clone() });
                    }
                }
            }
            found.extend(
                of_hook.into_iter().map(|(feature, (score, why))| ((hook, feature), score, why)),
            );
        }
        Ok(found)
    }

    fn vocabulary(
        &self,
        model: &InterpretableModel,
        tokenizer: &Tokenizer,
    ) -> Result<&Vocabulary, RuntimeError> {
        if let Some(vocabulary) = self.vocabulary.get() {
            return Ok(vocabulary);
        }
        let size = model.gpt().config().shape.vocab_size;
        let texts = (0..size as u32).map(|id| token_text(Some(tokenizer), id)).collect();
        let start = tokenizer.bos().or(tokenizer.document_start()).unwrap_or(0);
        let prior = prior(model, start)?;
        Ok(self.vocabulary.get_or_init(|| Vocabulary { texts, prior }))
    }
}

/// The features of an index that fire on a word, with the share of their top activations that do.
fn firing<'a>(
    index: Option<&'a FeatureIndex>,
    tokens: &'a WordTokens,
) -> impl Iterator<Item = (u32, f32, Evidence)> + 'a {
    index.into_iter().flat_map(FeatureIndex::iter).filter_map(|entry| {
        let of: u32 = entry.fires_on.iter().map(|(_, count)| count).sum();
        let on_word = entry.fires_on.iter().filter(|(text, _)| tokens.matches(text));
        let count: u32 = on_word.clone().map(|(_, count)| count).sum();
        let share = count as f32 / of as f32;
        let (token, _) = on_word.max_by_key(|(_, count)| *count)?;
        let token = token.clone();
        (share >= MIN_FIRES).then_some((
            entry.feature,
            share,
            Evidence::FiresOn { token, count, of },
        ))
    })
}

/// The weight of `word`, in lower case, in a label; `None` if it does not occur.
fn label_weight(label: &str, word: &str) -> Option<f32> {
    let label = label.to_lowercase();
    let mut words = label.split(|c: char| !c.is_alphanumeric());
    if words.any(|whole| whole == word) {
        Some(LABEL_WEIGHT)
    } else {
        label.contains(word).then_some(PARTIAL_LABEL_WEIGHT)
    }
}

/// Reads `1909` or `3:1909`.
fn index(query: &str) -> Option<(Option<usize>, usize)> {
    let query = query.trim().trim_start_matches('#');
    match query.split_once(':') {
        Some((layer, feature)) => Some((Some(layer.parse().ok()?), feature.parse().ok()?)),
        None => Some((None, query.parse().ok()?)),
    }
}

/// The features with an index, in the deepest SAE first.
fn by_index(
    model: &InterpretableModel,
    hooks: &[HookPoint],
    layer: Option<usize>,
    feature: usize,
) -> Vec<Hit> {
    let has = |hook: &&HookPoint| {
        let d_sae = model.saes().get(hook).map_or(0, |sae| sae.config().d_sae());
        feature < d_sae && layer.is_none_or(|layer| hook.layer() == Some(layer))
    };
    let hit = |&hook: &HookPoint| Hit {
        hook,
        feature: feature as u32,
        score: 1.0,
        evidence: vec![Evidence::Index],
    };
    let mut hooks: Vec<&HookPoint> = hooks.iter().filter(has).collect();
    hooks.sort_by(|a, b| b.cmp(a));
    hooks.into_iter().map(hit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_an_index_is_one() {
        assert_eq!(index("1909"), Some((None, 1909)));
        assert_eq!(index(" #7 "), Some((None, 7)));
        assert_eq!(index("3:1909"), Some((Some(3), 1909)));
        assert_eq!(index("dog"), None);
        assert_eq!(index("3:dog"), None);
        assert_eq!(index(""), None);
    }

    #[test]
    fn whole_words_of_a_label_weigh_more() {
        assert_eq!(label_weight("a big Dog, or two", "dog"), Some(LABEL_WEIGHT));
        assert_eq!(label_weight("hotdogs", "dog"), Some(PARTIAL_LABEL_WEIGHT));
        assert_eq!(label_weight("cats", "dog"), None);
    }
}
