//! The excerpts about a feature: those that are explained, and those that the explanation is tested on.

use nanoscope_dashboard::{Activity, Example, FeaturePage, Options};
use nanoscope_tokenizer::Tokenizer;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::excerpt::Excerpt;
use crate::windows::Windows;

/// The numbers of excerpts, and the seed of their choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// The maximum number of excerpts that are explained.
    pub shown: usize,
    /// The maximum number of excerpts that the explanation is tested on; half of them are without the
    /// feature.
    pub tested: usize,
    /// The number of tokens on either side of an excerpt's middle.
    pub window: usize,
    /// The seed.
    pub seed: u64,
}

impl Samples {
    /// The options of a dashboard that has enough examples, for the features that `options` names.
    pub fn dashboard(&self, options: Options) -> Options {
        let strongest = self.strongest();
        // A third of the strongest and half of the others are held out.
        let others =
            (self.shown - strongest).max(self.tested / 2).div_ceil(nanoscope_dashboard::QUANTILES);
        Options {
            examples: strongest + strongest.div_ceil(2),
            per_quantile: 2 * others,
            window: self.window,
            neighbours: false,
            seed: self.seed,
            ..options
        }
    }

    /// The number of excerpts with the largest activations among those that are explained.
    fn strongest(&self) -> usize {
        self.shown - self.shown / 4
    }
}

/// The excerpts about one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Material {
    /// The feature's index.
    pub feature: u32,
    /// The share of tokens on which it fires.
    pub density: f64,
    /// Its largest activation on the text.
    pub max: f32,
    /// The excerpts to explain; at least one.
    pub shown: Vec<Excerpt>,
    /// Other excerpts to test the explanation on, in random order: as many in which the feature fires as
    /// without it.
    pub contexts: Vec<TestContext>,
}

/// An excerpt that an explanation is tested on.
#[derive(Debug, Clone, PartialEq)]
pub struct TestContext {
    /// The excerpt.
    pub excerpt: Excerpt,
    /// True if the feature fires in it.
    pub fires: bool,
}

impl Material {
    /// Chooses excerpts from a feature's page, which was built with [`Samples::dashboard`], and from
    /// `windows` of the same text. `None` if the feature has no positive
    /// activation.
    ///
    /// Of what is tested, no excerpt overlaps with one that is explained or has the same tokens. A third of
    /// the strongest examples and half of the others are held out, so both kinds have strong and weak ones.
    pub fn choose(
        page: &FeaturePage,
        density: f64,
        windows: &Windows,
        tokenizer: &Tokenizer,
        samples: Samples,
    ) -> Option<Self> {
        let Split { strongest, others, held_out } = Split::of(&page.activity, samples.window);
        let take = samples.strongest().max(samples.shown.saturating_sub(others.len()));
        let mut shown: Vec<&Example> = strongest.into_iter().take(take).collect();
        shown.extend(others.into_iter().take(samples.shown - shown.len().min(samples.shown)));
        if shown.is_empty() {
            return None;
        }

        let mut random = ChaCha8Rng::seed_from_u64(samples.seed ^ (u64::from(page.feature) << 32));
        let quiet =
            windows.without(page.feature, held_out.len().min(samples.tested / 2), &mut random);
        let excerpt = |example: &Example| Excerpt::new(tokenizer, &example.tokens, &example.values);
        let firing = held_out.into_iter().take(quiet.len());
        let firing = firing.map(|example| TestContext { excerpt: excerpt(example), fires: true });
        let quiet = quiet.iter().map(|tokens| TestContext {
            excerpt: Excerpt::new(tokenizer, tokens, &[]),
            fires: false,
        });
        let mut contexts: Vec<TestContext> = firing.chain(quiet).collect();
        contexts.shuffle(&mut random);
        Some(Self {
            feature: page.feature,
            density,
            max: page.activity.histogram.high,
            shown: shown.into_iter().map(excerpt).collect(),
            contexts,
        })
    }
}

/// A feature's examples, none of which overlaps with another.
struct Split<'e> {
    strongest: Vec<&'e Example>,
    /// Samples of weaker activations, from all intervals in turn.
    others: Vec<&'e Example>,
    /// Strong and weak ones in turn.
    held_out: Vec<&'e Example>,
}

impl<'e> Split<'e> {
    fn of(activity: &'e Activity, window: usize) -> Self {
        let mut taken: Vec<&Example> = Vec::new();
        // A negative activation, which some SAEs have, is the opposite of the feature.
        let mut new = |example: &'e Example| {
            let is_new =
                example.value > 0.0 && !taken.iter().any(|other| overlap(other, example, window));
            if is_new {
                taken.push(example);
            }
            is_new
        };
        let strongest: Vec<&Example> =
            activity.strongest.iter().filter(|example| new(example)).collect();
        let (held_strongest, strongest) = every(&strongest, 3);
        // The strongest interval comes first.
        let (mut held, mut others) = (vec![held_strongest], Vec::new());
        for quantile in activity.quantiles.iter().rev() {
            let examples: Vec<&Example> =
                quantile.examples.iter().filter(|example| new(example)).collect();
            let (held_examples, other_examples) = every(&examples, 2);
            held.push(held_examples);
            others.push(other_examples);
        }
        Self { strongest, others: in_turn(&others), held_out: in_turn(&held) }
    }
}

/// Returns whether the windows of two examples have a token of the text in common, or are equal.
fn overlap(a: &Example, b: &Example, window: usize) -> bool {
    let near = a.context == b.context && a.position.abs_diff(b.position) as usize <= 2 * window;
    near || a.tokens == b.tokens
}

/// Every `n`th element, from the second on, and the rest.
fn every<T: Copy>(all: &[T], n: usize) -> (Vec<T>, Vec<T>) {
    let (mut these, mut rest) = (Vec::new(), Vec::new());
    for (at, &element) in all.iter().enumerate() {
        if at % n == 1 { these.push(element) } else { rest.push(element) }
    }
    (these, rest)
}

/// The first elements of all lists, then the second ones, and so on.
fn in_turn<T: Copy>(lists: &[Vec<T>]) -> Vec<T> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|at| lists.iter().filter_map(move |list| list.get(at).copied())).collect()
}

#[cfg(test)]
mod tests {
    use nanoscope_dashboard::{Histogram, Quantile};

    use super::*;

    fn example(context: u64, position: u32, value: f32) -> Example {
        let token = context as u32 * 1000 + position;
        let (tokens, values) = (Box::new([token]), Box::new([(0, value)]));
        Example { context, position, value, tokens, peak: 0, values }
    }

    fn activity(strongest: &[(u64, u32)], quantiles: &[&[(u64, u32)]]) -> Activity {
        let examples = |at: &[(u64, u32)]| at.iter().map(|&(c, p)| example(c, p, 1.0)).collect();
        let quantile =
            |at: &&[(u64, u32)]| Quantile { from: 0.0, to: 1.0, count: 9, examples: examples(at) };
        Activity {
            histogram: Histogram { low: 0.0, high: 1.0, counts: Vec::new() },
            strongest: examples(strongest),
            quantiles: quantiles.iter().map(quantile).collect(),
        }
    }

    fn contexts(examples: &[&Example]) -> Vec<u64> {
        examples.iter().map(|example| example.context).collect()
    }

    #[test]
    fn a_third_of_the_strongest_and_half_of_the_others_are_held_out() {
        let weak: [&[(u64, u32)]; 2] = [&[(10, 0), (11, 0), (12, 0)], &[(20, 0), (21, 0)]];
        let activity = activity(&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)], &weak);
        let split = Split::of(&activity, 2);

        assert_eq!(contexts(&split.strongest), [0, 2, 3]);
        assert_eq!(contexts(&split.others), [20, 10, 12]);
        assert_eq!(contexts(&split.held_out), [1, 21, 11, 4]);
    }

    #[test]
    fn no_two_excerpts_share_a_token_of_the_text_or_are_equal() {
        let mut activity = activity(&[(0, 10), (0, 14), (0, 15)], &[&[(0, 19), (0, 20), (1, 10)]]);
        activity.quantiles[0].examples[2].tokens = Box::new([10]);
        let split = Split::of(&activity, 2);

        let positions = |examples: &[&Example]| -> Vec<u32> {
            examples.iter().map(|example| example.position).collect()
        };
        assert_eq!(positions(&split.strongest), [10]);
        assert_eq!(positions(&split.held_out), [15]);
        assert_eq!(positions(&split.others), [20]);
    }

    #[test]
    fn a_dashboard_has_as_many_examples_as_are_needed() {
        let samples = Samples { shown: 20, tested: 20, window: 16, seed: 1 };
        let options = samples.dashboard(Options::new(0..4));

        assert_eq!((options.examples, options.per_quantile, options.window), (23, 4, 16));
        let few = Samples { shown: 1, tested: 0, window: 0, seed: 1 }.dashboard(Options::new(0..4));
        assert_eq!((few.examples, few.per_quantile), (2, 0));
    }
}
