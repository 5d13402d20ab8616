//! The words that a model writes with a feature turned up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Plan};
use unicode_segmentation::UnicodeSegmentation;

use crate::continuations::{Continuation, Continuations, added, is_fluent, sampling, seeds};
use crate::entry::FeatureEntry;
use crate::error::IndexError;
use crate::feature_index::FeatureIndex;
use crate::fingerprint::mix;
use crate::shared_text::SharedText;
use crate::shares::SteeringShares;
use crate::writing_options::{Writing, WritingOptions};

/// The factor by which more texts are written with a share that was sought.
const AGAIN: usize = 8;
/// The number of rows of a pass of several features; one with more texts than this has a pass of its own.
const ROWS: usize = 64;
/// The number of unsteered texts that the words are compared with.
const UNSTEERED: usize = 64;
/// The smallest number of texts with a word, and by how many standard deviations it must exceed the number to
/// be expected without steering.
const MIN_TEXTS: usize = 2;
const MIN_DEVIATIONS: f64 = 2.5;
/// The share of texts by which a word that the feature does not promote must exceed its expectation for the
/// feature to have a share of its own.
const STRONG: f64 = 0.7;
/// The steps in which that share is sought, and the largest one.
const STEP: f32 = 0.05;
const MAX_SHARE: f32 = 0.5;
/// The ratio of negative log-likelihoods that its texts must not exceed. It is the mean over a few texts after
/// various beginnings. After predictable ones it is higher, so this is less than [`Fluency::BROKEN`](nanoscope_runtime::Fluency::BROKEN).
const FLUENT: f64 = 1.45;
/// The number of words that are kept per feature, and the longest.
const MAX_WORDS: usize = 12;
const MAX_LETTERS: usize = 40;

impl FeatureIndex {
    /// Measures the words that the model writes with each feature of the index turned up: continues the
    /// `prompts` in turn with the feature added by the SAE's default share of the norm, and keeps the words that
    /// more texts contain than without steering. For features that promote such a word, or write one in most
    /// texts, the share is then raised while too few texts have the word, or lowered, to one at which their own
    /// texts stay fluent; and eight times as many new texts are written with it. Features that never fire are
    /// left out.
    ///
    /// `progress` gets the number of features that are done and of all, before each pass, and can end the
    /// measurement; the index is then unchanged. Features whose share is sought count three times.
    ///
    /// # Errors
    /// [`IndexError::Runtime`] if a prompt is empty or cannot be run, or the model lacks the SAE;
    /// [`IndexError::Unmeasured`] if there are no prompts, or the model writes nothing after them;
    /// [`IndexError::Interrupted`].
    pub fn measure_writing(
        &mut self,
        model: &InterpretableModel,
        prompts: &[Vec<u32>],
        options: &WritingOptions,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let hook = self.hook;
        if prompts.is_empty() {
            return Err(IndexError::Unmeasured { hook });
        }
        let default = self.shares.as_ref().map_or(SteeringShares::UNMEASURED, |s| s.default);
        let texts = options.texts.max(1);
        let WritingOptions { tokens, seed, .. } = *options;
        let sampling = sampling(tokens);
        let continuations = Continuations { model, prompts, sampling: &sampling };
        let writer = Writer { hook, n: texts, seed, texts: continuations };
        let firing: Vec<usize> =
            (0..self.features.len()).filter(|&feature| self.features[feature].fires > 0).collect();
        let all = firing.len() as u64;
        let common = writer.common(&mut || progress(0, all))?;
        let mut found: BTreeMap<usize, Turned> = BTreeMap::new();
        // Only the texts of features that write a word of their own are scored.
        let mut strong: Vec<(usize, SharedText, Turned)> = Vec::new();
        let mut done = 0;
        for part in firing.chunks(writer.features_per_pass()) {
            let steered: Vec<(usize, f32)> = part.iter().map(|&f| (f, default)).collect();
            let written = writer.turned(&steered, &common, &mut || progress(done, all))?;
            for (&feature, written) in part.iter().zip(written) {
                match written.own_word(&self.features[feature]) {
                    Some(word) => strong.push((feature, word, written)),
                    None => drop(found.insert(feature, written.without_texts())),
                }
            }
            done += part.len() as u64;
        }
        let all = all + 2 * strong.len() as u64;
        let tuned = writer.tuned(strong, &common, &mut |tuned| progress(done + tuned, all))?;
        done += tuned.len() as u64;
        // The texts that a share was chosen by flatter it.
        let more = Writer { n: AGAIN * texts, seed: mix(seed), ..writer };
        let steered: Vec<(usize, f32)> =
            tuned.iter().map(|(feature, turned)| (*feature, turned.share)).collect();
        for part in steered.chunks(more.features_per_pass()) {
            let written = more.turned(part, &common, &mut || progress(done, all))?;
            let written = written.into_iter().map(Turned::without_texts);
            found.extend(part.iter().map(|&(feature, _)| feature).zip(written));
            done += part.len() as u64;
        }
        for (feature, entry) in self.features.iter_mut().enumerate() {
            (entry.share, entry.writes, entry.texts) = (None, Vec::new(), None);
            if let Some(turned) = found.remove(&feature) {
                entry.writes = turned.words;
                entry.texts = (turned.n != texts).then_some(turned.n as u32);
                entry.share = (turned.share != default).then_some(turned.share);
            }
        }
        let (texts, tokens) = (texts as u32, tokens as u32);
        self.writing = Some(Writing { texts, tokens, share: default });
        Ok(())
    }
}

/// The words of several texts that are more frequent than in the unsteered ones, most distinctive first.
///
/// Returns them with the number of texts with each, and the share of texts by which the first one exceeds its
/// expectation.
fn distinctive(texts: &[BTreeSet<String>], common: &Common) -> (Vec<(SharedText, u32)>, f64) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in texts.iter().flatten() {
        *counts.entry(word).or_default() += 1;
    }
    let n = texts.len() as f64;
    let mut kept: Vec<(f64, &str, usize)> = Vec::new();
    for (word, count) in counts {
        let expected = common.expected(word);
        let deviation = (n * expected * (1.0 - expected)).sqrt();
        let excess = count as f64 - n * expected;
        if count >= MIN_TEXTS && excess >= MIN_DEVIATIONS * deviation {
            kept.push((excess, word, count));
        }
    }
    kept.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    kept.truncate(MAX_WORDS);
    let excess = kept.first().map_or(0.0, |(excess, ..)| excess / n);
    let words = kept.into_iter().map(|(_, word, count)| (word.into(), count as u32)).collect();
    (words, excess)
}

/// The words of `text`, in lower case.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.unicode_words().map(str::to_lowercase);
    words.filter(|word| word.chars().count() <= MAX_LETTERS).collect()
}

/// The words of unsteered texts.
#[derive(Debug)]
struct Common {
    /// The number of texts with each word.
    words: BTreeMap<String, usize>,
    /// The mean negative log-likelihood of the texts.
    nll: f64,
}

impl Common {
    /// The probability that an unsteered text contains `word`.
    fn expected(&self, word: &str) -> f64 {
        // One more text of either kind, so that no word is impossible or certain.
        let without = self.words.get(word).copied().unwrap_or(0);
        (without as f64 + 1.0) / (UNSTEERED + 2) as f64
    }
}

/// The words that texts contain more often with a feature turned up.
#[derive(Debug)]
struct Turned {
    share: f32,
    /// The number of texts.
    n: usize,
    /// The words with the number of texts, most distinctive first.
    words: Vec<(SharedText, u32)>,
    /// The share of texts by which the first word exceeds its expectation.
    excess: f64,
    texts: Vec<Continuation>,
}

impl Turned {
    /// The word that the feature of `entry` is turned up for: the first one that it promotes, or one that nearly
    /// all texts have.
    fn own_word(&self, entry: &FeatureEntry) -> Option<SharedText> {
        let promoted = self.words.iter().find(|(word, _)| entry.promotes_word(word));
        let first = self.words.first().filter(|_| self.excess >= STRONG);
        promoted.or(first).map(|(word, _)| word.clone())
    }

    /// The number of texts with `word`.
    fn with(&self, word: &SharedText) -> usize {
        let found = self.words.iter().find(|(found, _)| found == word);
        found.map_or(0, |(_, count)| *count as usize)
    }

    /// The same without the texts, which are needed only for scoring.
    fn without_texts(self) -> Self {
        Self { texts: Vec::new(), ..self }
    }
}

/// The direction in which a share is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Way {
    /// The share after `share`; `None` at the end of the range.
    fn next(self, share: f32) -> Option<f32> {
        let step = if matches!(self, Self::Up) { STEP } else { -STEP };
        // In whole percent, without the noise of sums.
        let next = ((share + step) * 100.0).round() / 100.0;
        (STEP..=MAX_SHARE).contains(&next).then_some(next)
    }
}

/// Texts with features of the SAE at `hook` turned up.
#[derive(Clone, Copy)]
struct Writer<'m> {
    hook: HookPoint,
    /// The number of texts per feature.
    n: usize,
    seed: u64,
    texts: Continuations<'m>,
}

impl Writer<'_> {
    fn features_per_pass(&self) -> usize {
        (ROWS / self.n).max(1)
    }

    /// The words of unsteered texts.
    fn common(&self, go_on: &mut impl FnMut() -> ControlFlow<()>) -> Result<Common, IndexError> {
        let texts =
            self.texts.write(&[Plan::new()], &seeds(self.seed, UNSTEERED), go_on)?.remove(0);
        let nll = self.texts.nll(&texts)?.ok_or(IndexError::Unmeasured { hook: self.hook })?;
        let mut common = Common { words: BTreeMap::new(), nll };
        for word in texts.iter().flat_map(|text| words(&text.text)) {
            *common.words.entry(word).or_default() += 1;
        }
        Ok(common)
    }

    /// The words with each feature turned up by its share of the norm.
    fn turned(
        &self,
        steered: &[(usize, f32)],
        common: &Common,
        go_on: &mut impl FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Turned>, IndexError> {
        let plan = |&(feature, share): &(usize, f32)| {
            Plan::new().intervene(added(self.hook, feature, share))
        };
        let plans: Vec<Plan> = steered.iter().map(plan).collect();
        let written = self.texts.write(&plans, &seeds(self.seed, self.n), go_on)?;
        let turned = written.into_iter().zip(steered).map(|(texts, &(_, share))| {
            let words: Vec<BTreeSet<String>> = texts.iter().map(|text| words(&text.text)).collect();
            let (words, excess) = distinctive(&words, common);
            Turned { share, n: texts.len(), words, excess, texts }
        });
        Ok(turned.collect())
    }

    /// Raises the share of each feature while fewer than three quarters of its texts have its word and they stay
    /// fluent, or lowers it until they are.
    ///
    /// `go_on` gets the number of features that are done.
    fn tuned(
        &self,
        strong: Vec<(usize, SharedText, Turned)>,
        common: &Common,
        go_on: &mut impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Vec<(usize, Turned)>, IndexError> {
        let mut open: Vec<(usize, SharedText, Turned, Way)> = Vec::with_capacity(strong.len());
        for (feature, word, turned) in strong {
            let way = if self.is_fluent(&turned, common)? { Way::Up } else { Way::Down };
            open.push((feature, word, turned, way));
        }
        let mut done: Vec<(usize, Turned)> = Vec::with_capacity(open.len());
        while !open.is_empty() {
            let mut still = Vec::new();
            let mut trying: Vec<(usize, f32)> = Vec::new();
            for (feature, word, turned, way) in open.drain(..) {
                let is_enough = way == Way::Up && 4 * turned.with(&word) >= 3 * turned.n;
                match way.next(turned.share).filter(|_| !is_enough) {
                    Some(share) => {
                        trying.push((feature, share));
                        still.push((feature, word, turned, way));
                    }
                    None => done.push((feature, turned.without_texts())),
                }
            }
            let mut still = still.into_iter();
            for part in trying.chunks(self.features_per_pass()) {
                let tried = self.turned(part, common, &mut || go_on(done.len() as u64))?;
                for (next, (feature, word, turned, way)) in tried.into_iter().zip(still.by_ref()) {
                    let is_fluent = self.is_fluent(&next, common)?;
                    match way {
                        Way::Up if is_fluent && next.with(&word) >= turned.with(&word) => {
                            open.push((feature, word, next, way));
                        }
                        Way::Up => done.push((feature, turned.without_texts())),
                        Way::Down if is_fluent => done.push((feature, next.without_texts())),
                        Way::Down => open.push((feature, word, next, way)),
                    }
                }
            }
        }
        Ok(done)
    }

    fn is_fluent(&self, turned: &Turned, common: &Common) -> Result<bool, IndexError> {
        Ok(is_fluent(self.texts.nll(&turned.texts)?, common.nll, FLUENT))
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};
    use nanoscope_tokenizer::{Tokenizer, TokenizerParts};
    use nanoscope_transformer::GptShape;

    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn words_are_kept_that_steering_makes_more_frequent() {
        let texts = [
            set(&["the", "dog", "big"]),
            set(&["dog", "the"]),
            set(&["the", "dog"]),
            set(&["the", "cake"]),
        ];
        let common = |words: &[(&str, usize)]| Common {
            words: words.iter().map(|&(word, n)| (word.to_owned(), n)).collect(),
            nll: 1.0,
        };

        let (kept, excess) = distinctive(&texts, &common(&[("the", 60), ("dog", 4), ("big", 20)]));

        assert_eq!(kept, [(SharedText::from("dog"), 3)]);
        assert!((excess - (0.75 - 5.0 / 66.0)).abs() < 1e-9);
        let (kept, excess) = distinctive(&texts, &common(&[("dog", 40), ("the", 64)]));
        assert_eq!((kept.len(), excess), (0, 0.0));
    }

    #[test]
    fn a_measurement_is_repeatable_and_leaves_the_index_alone_when_it_is_ended() {
        let (device, hook) = (test_device(), HookPoint::ResidPost(1));
        let parts = TokenizerParts {
            pattern: r"\s+|\S+".to_owned(),
            ranks: (0..=255).map(|byte| (vec![byte], u32::from(byte))).collect(),
            special_tokens: Vec::new(),
        };
        let gpt = tiny_gpt(GptShape { vocab_size: 256, ..TINY_SHAPE }, &device);
        let model = InterpretableModel::new(gpt)
            .with_sae(hook, identity_sae(64, 4, &device))
            .unwrap()
            .with_tokenizer(Tokenizer::new(parts).unwrap())
            .unwrap();
        let fires = |feature: u32| u64::from(feature != 3);
        let entry =
            |feature| FeatureEntry { feature, fires: fires(feature), ..FeatureEntry::default() };
        let index = FeatureIndex::new(hook, 1, 9, (0..64).map(entry).collect());
        let measure = |stop: bool| {
            let (mut index, mut seen) = (index.clone(), Vec::new());
            let options = WritingOptions { texts: 3, tokens: 8, seed: 1 };
            let done =
                index.measure_writing(&model, &[vec![3, 1], vec![4]], &options, |done, all| {
                    seen.push((done, all));
                    if stop && done > 0 {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                });
            (index, seen, done)
        };

        let (first, seen, done) = measure(false);
        let (second, ..) = measure(false);
        let (ended, _, error) = measure(true);

        done.unwrap();
        assert_eq!(first, second);
        assert_eq!(first.writing, Some(Writing { texts: 3, tokens: 8, share: 0.3 }));
        assert!(first.get(3).unwrap().writes.is_empty());
        let words: Vec<_> = first.iter().flat_map(|entry| &entry.writes).collect();
        assert!(!words.is_empty());
        for entry in first.iter() {
            let of = entry.texts.unwrap_or(3);
            assert!(of == 3 || of == 9);
            assert!(entry.writes.iter().all(|(_, count)| (2..=of).contains(count)));
        }
        assert!(first.iter().all(|entry| entry.problem(entry.feature).is_none()));
        assert_eq!(seen[0], (0, 63));
        assert!(seen.iter().all(|(done, all)| done <= all));
        assert!(matches!(error, Err(IndexError::Interrupted)));
        assert_eq!(ended, index);
    }

    #[test]
    fn shares_are_sought_in_steps_within_their_range() {
        assert_eq!(Way::Up.next(0.35), Some(0.4));
        assert_eq!(Way::Up.next(0.5), None);
        assert_eq!(Way::Down.next(0.15), Some(0.1));
        assert_eq!(Way::Down.next(0.05), None);
    }

    #[test]
    fn words_are_those_of_unicode_in_lower_case() {
        assert_eq!(words(" The dog's Élan—ran. 猫"), set(&["dog's", "ran", "the", "élan", "猫"]));
        assert_eq!(words(&"x".repeat(MAX_LETTERS + 1)), set(&[]));
    }
}
