//! The two passes over the text.
//!
//! The text is read twice. Examples are sampled from intervals of a feature's activations, and
//! these are known only after a first pass; keeping candidates for all possible intervals would
//! take more memory than a second pass takes time.

use std::ops::{ControlFlow, Range};

use nanoscope_corpus::{Context, CorpusError, SpecialTokens};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{FeatureStats, InterpretableModel};
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::TokenBatch;

use super::example::{Example, FeatureFirings, StrongestExamples};
use super::pairs::PairCounts;
use super::quantile::{QUANTILES, Quantile, RandomSample, priority};
use crate::histogram::{Histogram, interval, interval_start};
use crate::{DashboardError, Options, Progress, Stage};

/// The results of both passes.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) stats: FeatureStats,
    /// The sum of squared activations, for each feature of the SAE.
    pub(crate) squares: Vec<f64>,
    pub(crate) pairs: PairCounts,
    pub(crate) contexts: u64,
    /// The activations of the features in the range, in order.
    pub(crate) features: Vec<Activity>,
}

/// The distribution of a feature's activations on the text, with examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// The nonzero activations, from 0 (or the smallest one, if negative) to the largest, which is 0 if the
    /// feature does not fire.
    pub histogram: Histogram,
    /// The top activations, the largest first.
    pub strongest: Vec<Example>,
    /// Samples from equal intervals of the activation range, in ascending order.
    pub quantiles: Vec<Quantile>,
}

/// Reads the text twice. The first pass finds the range of each feature's activations, which the second
/// divides into intervals.
pub(crate) fn gather<I>(
    (model, hook): (&InterpretableModel, HookPoint),
    options: &Options,
    mut contexts: impl FnMut() -> Result<I, CorpusError>,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Gathered, DashboardError>
where
    I: Iterator<Item = Result<Context, CorpusError>>,
{
    let d_sae = model.sae(hook)?.config().d_sae();
    let mut pass = ModelPass { model, hook, special: options.special };

    let mut survey = Survey {
        stats: FeatureStats::new(d_sae, 0),
        squares: vec![0.0; d_sae],
        smallest: vec![0.0; d_sae],
        pairs: PairCounts::new(options.features.clone(), d_sae),
    };
    let mut read = 0;
    let mut tokens = 0;
    for context in contexts()? {
        let context = context?;
        survey.add(&pass.run(&context)?);
        read += 1;
        tokens += context.tokens.len() as u64;
        report_progress(progress, Stage::Surveying, tokens)?;
    }
    let Survey { stats, squares, smallest, mut pairs } = survey;
    if stats.tokens() == 0 {
        return Err(DashboardError::NoTokens);
    }
    pairs.finish_survey();

    let gatherers = options.features.clone();
    let gatherers = gatherers.map(|feature| {
        let high = stats.get(feature).max_activation.max(0.0);
        FeatureGatherer::new(feature, smallest[feature as usize], high)
    });
    let mut gatherers: Vec<FeatureGatherer> = gatherers.collect();
    let mut tokens = 0;
    for context in contexts()? {
        let context = context?;
        let features = pass.run(&context)?;
        for (_, row) in features.counted() {
            pairs.count(row);
        }
        features.by_feature(&options.features, |feature, at| {
            let gatherer = &mut gatherers[(feature - options.features.start) as usize];
            gatherer.add(FeatureFirings { context: &context, at }, &features, options);
        });
        tokens += context.tokens.len() as u64;
        report_progress(progress, Stage::Gathering, tokens)?;
    }
    let features = gatherers.into_iter().map(FeatureGatherer::finish).collect();
    Ok(Gathered { stats, squares, pairs, contexts: read, features })
}

/// Calls `progress`, and returns an error if it breaks.
pub(crate) fn report_progress(
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    stage: Stage,
    done: u64,
) -> Result<(), DashboardError> {
    match progress(Progress { stage, done }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DashboardError::Interrupted),
    }
}

/// Runs the model on one context at a time.
struct ModelPass<'m> {
    model: &'m InterpretableModel,
    hook: HookPoint,
    special: SpecialTokens,
}

impl ModelPass<'_> {
    fn run(&mut self, context: &Context) -> Result<ContextFeatures, DashboardError> {
        let tokens = TokenBatch::new(std::slice::from_ref(&context.tokens))?;
        let features = self.model.features_at(self.hook, &tokens)?;
        let tokenizer = self.model.tokenizer();
        let is_special = |id| tokenizer.is_some_and(|tokenizer| tokenizer.is_special(id));
        let counts = |&id: &u32| self.special == SpecialTokens::Keep || !is_special(id);
        Ok(ContextFeatures::new(features, context.tokens.iter().map(counts).collect()))
    }
}

/// The features of a context, with a flag for each token that counts.
struct ContextFeatures {
    features: SparseFeatures,
    entries: Vec<(u32, f32)>,
    starts: Vec<usize>,
    counts: Vec<bool>,
}

impl ContextFeatures {
    fn new(features: SparseFeatures, counts: Vec<bool>) -> Self {
        let (starts, indices, values) = features.csr();
        let entries = indices.iter().copied().zip(values.iter().copied()).collect();
        Self { starts: starts.to_vec(), entries, counts, features }
    }

    /// Returns the positions of the tokens that count, with their features.
    fn counted(&self) -> impl Iterator<Item = (u32, &[(u32, f32)])> {
        let row = |at: usize| (at as u32, &self.entries[self.starts[at]..self.starts[at + 1]]);
        (0..self.counts.len()).filter(|&at| self.counts[at]).map(row)
    }

    /// Calls `each` with every feature of `range` that fires, its positions and activations.
    fn by_feature(&self, range: &Range<u32>, mut each: impl FnMut(u32, &[(u32, f32)])) {
        let mut entries: Vec<(u32, (u32, f32))> = Vec::new();
        for row in 0..self.features.rows() {
            let row_entries = self.entries[self.starts[row]..self.starts[row + 1]].iter();
            let of_range = row_entries.filter(|(feature, _)| range.contains(feature));
            entries.extend(of_range.map(|&(feature, value)| (feature, (row as u32, value))));
        }
        // The rows are in order, and a stable sort preserves it.
        entries.sort_by_key(|&(feature, _)| feature);
        let mut at = Vec::new();
        for group in entries.chunk_by(|a, b| a.0 == b.0) {
            at.clear();
            at.extend(group.iter().map(|&(_, at)| at));
            each(group[0].0, &at);
        }
    }
}

/// The statistics of the first pass.
struct Survey {
    stats: FeatureStats,
    squares: Vec<f64>,
    smallest: Vec<f32>,
    pairs: PairCounts,
}

impl Survey {
    fn add(&mut self, rows: &ContextFeatures) {
        let counted = rows.counts.iter().map(|&counts| counts.then_some(0));
        self.stats.add(&rows.features, counted);
        for (_, row) in rows.counted() {
            for &(feature, value) in row {
                self.squares[feature as usize] += f64::from(value).powi(2);
                let smallest = &mut self.smallest[feature as usize];
                *smallest = smallest.min(value);
            }
            self.pairs.survey(row);
        }
    }
}

/// The state of one feature in the second pass.
#[derive(Debug)]
struct FeatureGatherer {
    feature: u32,
    histogram: Histogram,
    strongest: StrongestExamples,
    samples: [RandomSample; QUANTILES],
}

impl FeatureGatherer {
    fn new(feature: u32, low: f32, high: f32) -> Self {
        Self {
            feature,
            histogram: Histogram::new(low, high),
            strongest: StrongestExamples::default(),
            samples: Default::default(),
        }
    }

    fn add(&mut self, firing: FeatureFirings<'_>, rows: &ContextFeatures, options: &Options) {
        let counts = |position: u32| rows.counts[position as usize];
        for &(position, value) in firing.at.iter().filter(|&&(position, _)| counts(position)) {
            self.histogram.add(value);
            let Histogram { low, high, .. } = self.histogram;
            let priority = priority(options.seed, self.feature, firing.context.index, position);
            let sample = &mut self.samples[interval(low, high, value, QUANTILES)];
            let max = options.per_quantile;
            sample.offer(priority, firing, (position, value), options.window, max);
        }
        self.strongest.offer(firing, counts, options.window, options.examples);
    }

    fn finish(self) -> Activity {
        let Self { histogram, strongest, samples, .. } = self;
        let (low, high) = (histogram.low, histogram.high);
        let quantiles = if high > low {
            let bounds = |n| {
                (
                    interval_start(low, high, n, QUANTILES),
                    interval_start(low, high, n + 1, QUANTILES),
                )
            };
            let quantile = |(n, sample): (usize, RandomSample)| sample.into_quantile(bounds(n));
            samples.into_iter().enumerate().map(quantile).collect()
        } else {
            Vec::new()
        };
        Activity { histogram, strongest: strongest.into_examples(), quantiles }
    }
}
