use std::collections::HashMap;
use std::sync::OnceLock;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, RuntimeError};
use nanoscope_tokenizer::Tokenizer;

use super::evidence::{Evidence, Hit};
use super::prior::prior;
use super::promotion::promoters;
use super::word::WordTokens;
use crate::entry::FeatureEntry;
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
    /// True if promoted tokens and written words count.
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
/// The smallest number of letters of a word that is found inside of others in labels.
const MIN_PARTIAL: usize = 3;
/// The number of words of a query that are searched for.
const MAX_WORDS: usize = 8;
/// The number of texts that an estimate counts like beside a measurement.
const ESTIMATE_TEXTS: f32 = 12.0;
/// The weight of a text with another form of the word, as `danced` for `dance`.
const FORM_WEIGHT: f32 = 0.8;
/// The weight of writing a word in all texts, and of promoting one that was not written.
const WRITES_WEIGHT: f32 = 2.0;
const UNWRITTEN_WEIGHT: f32 = 0.3;
/// The weight of a word's first piece: it also begins other words.
const PIECE_WEIGHT: f32 = 0.3;
/// The smallest share of a feature's top activations that must be on a word.
const MIN_FIRES: f32 = 0.15;

impl Search {
    /// Returns the features of `model` that `query` finds, best first. An index such as `1909` finds the
    /// features that have it, `3:1909` the one in block 3, unless only some kinds of evidence count. Of several
    /// words, all that find anything must match; words after the eighth are left out.
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
        let is_for_anything = options.labels && options.promotes && options.fires_on;
        if let Some((layer, feature)) = index(query).filter(|_| is_for_anything) {
            return Ok(by_index(model, &hooks, layer, feature));
        }
        let mut found: HashMap<(HookPoint, u32), (f32, Vec<Evidence>, usize)> = HashMap::new();
        let mut words = 0;
        for word in query.split_whitespace().take(MAX_WORDS) {
            let of_word = self.word(model, names, (word, &hooks), options, &label)?;
            // An article, or a word that the model does not know, does not hide the others.
            words += usize::from(!of_word.is_empty());
            for (key, score, evidence) in of_word {
                let (sum, all, matched) = found.entry(key).or_default();
                *sum += score;
                all.extend(evidence);
                *matched += 1;
            }
        }
        let hit =
            |((hook, feature), (sum, evidence, matched)): (_, (f32, Vec<Evidence>, usize))| {
                let score = sum / words as f32;
                (matched == words).then_some(Hit { hook, feature, score, evidence })
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
                let index = names.index(hook).map(AsRef::as_ref);
                if options.promotes {
                    let mut written = writing(index, tokens);
                    let is_measured = index.is_some_and(|index| index.writing.is_some());
                    for promoter in promoters(model, hook, tokens, &vocabulary.prior, share)? {
                        let likely = promoter.probability;
                        let estimated = weight * likely / (likely + HALF_PROBABILITY);
                        let (score, evidence) = of_hook.entry(promoter.feature).or_default();
                        *score += match written.remove(&promoter.feature) {
                            Some(found) => {
                                let share = found.share(likely);
                                evidence.push(found.evidence);
                                WRITES_WEIGHT * share
                            }
                            // A measurement counts more than an estimate.
                            None if is_measured => UNWRITTEN_WEIGHT * estimated,
                            None => estimated,
                        };
                        let token = vocabulary.texts[promoter.token as usize].clone();
                        evidence.push(Evidence::Promotes { token, effect: promoter.effect });
                    }
                    for (feature, found) in written {
                        let (score, evidence) = of_hook.entry(feature).or_default();
                        *score += WRITES_WEIGHT * found.share(0.0);
                        evidence.push(found.evidence);
                    }
                }
                for (feature, share, reason) in firing(index.filter(|_| options.fires_on), tokens) {
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

/// The texts with a word that were generated with a feature turned up.
struct Written {
    count: u32,
    of: u32,
    /// The weight of a text: 1 with the word as it was asked for.
    weight: f32,
    /// The maximum number of tokens per text.
    tokens: u32,
    evidence: Evidence,
}

impl Written {
    /// The share of texts with the word, as measured on a few and as estimated from the word's probability per
    /// token. The estimate counts like [`ESTIMATE_TEXTS`] texts, so that luck in a few does not win.
    fn share(&self, likely: f32) -> f32 {
        let estimate = 1.0 - (1.0 - likely.clamp(0.0, 1.0)).powf(self.tokens as f32);
        let texts = self.weight * self.count as f32;
        (texts + ESTIMATE_TEXTS * estimate) / (self.of as f32 + ESTIMATE_TEXTS)
    }
}

/// The features of an index with which the model writes a word.
fn writing(index: Option<&FeatureIndex>, tokens: &WordTokens) -> HashMap<u32, Written> {
    let Some((index, writing)) = index.and_then(|index| Some((index, index.writing.as_ref()?)))
    else {
        return HashMap::new();
    };
    let entry = |entry: &FeatureEntry| {
        let forms = entry.writes.iter().filter(|(word, _)| tokens.matches(word));
        let weight = |word: &str| if word == tokens.word { 1.0 } else { FORM_WEIGHT };
        let weighted = forms.map(|(word, count)| (word, *count, weight(word)));
        let by_weight = |a: &(_, u32, f32), b: &(_, u32, f32)| {
            (a.1 as f32 * a.2).total_cmp(&(b.1 as f32 * b.2))
        };
        let (word, count, weight) = weighted.max_by(by_weight)?;
        let of = entry.texts.unwrap_or(writing.texts);
        let evidence = Evidence::Writes { word: word.clone(), count, of };
        let tokens = writing.tokens;
        Some((entry.feature, Written { count, of, weight, tokens, evidence }))
    };
    index.iter().filter_map(entry).collect()
}

/// The features of an index that fire on a word, with the share of their top activations that do.
fn firing<'a>(
    index: Option<&'a FeatureIndex>,
    tokens: &'a WordTokens,
) -> impl Iterator<Item = (u32, f32, Evidence)> + 'a {
    index.into_iter().flat_map(FeatureIndex::iter).filter_map(|entry| {
        let of: u64 = entry.fires_on.iter().map(|&(_, count)| u64::from(count)).sum();
        let on_word = entry.fires_on.iter().filter(|(text, _)| tokens.matches(text));
        let count: u64 = on_word.clone().map(|&(_, count)| u64::from(count)).sum();
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
        // Nearly every label contains `a`.
        let is_long = word.chars().count() >= MIN_PARTIAL;
        (is_long && label.contains(word)).then_some(PARTIAL_LABEL_WEIGHT)
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
    use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};
    use nanoscope_tokenizer::TokenizerParts;
    use nanoscope_transformer::GptShape;

    use super::*;
    use crate::writing_options::Writing;

    const HOOK: HookPoint = HookPoint::ResidPost(1);

    /// A model that knows the words dog and cat, and the index of its SAE, in which feature 5 writes dog.
    fn model() -> (InterpretableModel, FeatureNames) {
        let words = [" dog", " cat"].map(|word| word.as_bytes().to_vec());
        let bytes = (0..=255).map(|byte| vec![byte]);
        let parts = TokenizerParts {
            pattern: r" ?\S+|\s+".to_owned(),
            ranks: bytes.chain(words).zip(0..).collect(),
            special_tokens: Vec::new(),
        };
        let device = test_device();
        let gpt = tiny_gpt(GptShape { vocab_size: 300, ..TINY_SHAPE }, &device);
        let model = InterpretableModel::new(gpt).with_sae(HOOK, identity_sae(64, 4, &device));
        let model = model.unwrap().with_tokenizer(Tokenizer::new(parts).unwrap()).unwrap();
        let entry = |feature| FeatureEntry {
            feature,
            fires: 1,
            writes: if feature == 5 { vec![("dog".into(), 3)] } else { Vec::new() },
            fires_on: if feature == 9 { vec![(" dog".into(), 4)] } else { Vec::new() },
            ..Default::default()
        };
        let mut index = FeatureIndex::new(HOOK, 1, 9, (0..64).map(entry).collect());
        index.writing = Some(Writing { texts: 4, tokens: 32, share: 0.3 });
        let mut names = FeatureNames::new();
        names.insert(index);
        (model, names)
    }

    fn find(query: &str, options: &SearchOptions) -> Vec<Hit> {
        let (model, names) = model();
        let label = |_, feature| (feature == 7).then(|| "a dog, of course".to_owned());
        Search::default().find(&model, &names, query, options, label).unwrap()
    }

    #[test]
    fn a_feature_that_writes_the_word_comes_first_and_each_reason_is_named() {
        let hits = find("dog", &SearchOptions::default());

        assert_eq!(hits[0].feature, 5);
        assert!(hits[0].why().starts_with("writes \"dog\" in 3 of 4 texts"), "{}", hits[0].why());
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
        let why = |feature| hits.iter().find(|hit| hit.feature == feature).unwrap().why();
        assert!(why(9).contains("fires on ·dog in 4 of its 4"), "{}", why(9));
        assert!(why(7).contains("its label has \"dog\""), "{}", why(7));
        assert_eq!(find("Dogs dog", &SearchOptions::default())[0].feature, 5);
    }

    #[test]
    fn texts_with_the_word_as_it_was_asked_for_count_more_than_those_with_another_form() {
        let entry = |(feature, writes): (u32, &[(&str, u32)])| FeatureEntry {
            feature,
            writes: writes.iter().map(|&(word, count)| (word.into(), count)).collect(),
            ..Default::default()
        };
        let writes: [(u32, &[(&str, u32)]); 3] =
            [(0, &[("dogs", 4)]), (1, &[("dog", 4)]), (2, &[("cat", 4), ("dogs", 4), ("dog", 3)])];
        let mut index = FeatureIndex::new(HOOK, 1, 9, writes.into_iter().map(entry).collect());
        index.writing = Some(Writing { texts: 4, tokens: 32, share: 0.3 });
        let tokens = WordTokens { word: "dog".to_owned(), ids: Vec::new(), is_piece: false };

        let found = writing(Some(&index), &tokens);

        // Of 4 texts and an estimate of none in 12.
        assert_eq!([0, 1, 2].map(|feature| found[&feature].share(0.0)), [0.2, 0.25, 0.2]);
        let word = |feature| found[&feature].evidence.to_string();
        assert!(word(1).contains("\"dog\" in 4") && word(2).contains("\"dogs\" in 4"));
    }

    #[test]
    fn a_word_that_finds_nothing_does_not_hide_the_others() {
        let features = |query| -> Vec<u32> {
            let hits = find(query, &SearchOptions::default());
            hits.iter().map(|hit| hit.feature).collect()
        };
        assert_eq!(features("dog of"), [7]); // `of` is in its label
        assert_eq!(features("dog zyzzyva")[0], 5);
        assert!(features("zyzzyva").is_empty());
    }

    #[test]
    fn only_a_search_for_anything_finds_a_feature_by_its_index() {
        let only = SearchOptions { labels: false, fires_on: false, ..SearchOptions::default() };
        assert_eq!(find("7", &SearchOptions::default())[0].evidence, [Evidence::Index]);
        assert!(find("7", &only).iter().all(|hit| hit.evidence != [Evidence::Index]));
        assert!(find("dog", &only).iter().all(|hit| ![7, 9].contains(&hit.feature)));
    }

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
        assert_eq!(label_weight("cats", "a"), None);
    }
}
