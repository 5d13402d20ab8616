use nanoscope_index::mix;

use super::example::{Example, FeatureFirings};

/// The number of intervals into which a feature's activation range is divided, as in SAEDashboard.
pub const QUANTILES: usize = 5;

/// One of [`QUANTILES`] equal intervals of a feature's activation range, with examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantile {
    /// The lower bound, exclusive.
    pub from: f32,
    /// The upper bound, inclusive.
    pub to: f32,
    /// The number of tokens whose activation is in the interval.
    pub count: u64,
    /// A uniform sample of these tokens, the largest activation first.
    pub examples: Vec<Example>,
}

/// A uniform sample of a stream, which depends only on the seed and the set of examples.
///
/// Each example has a pseudo-random priority derived from its position, and the examples with the smallest
/// priorities are kept. The order in which the text is read therefore does not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct RandomSample {
    count: u64,
    kept: Vec<(u64, Example)>,
}

impl RandomSample {
    /// Counts the token at `peak` and keeps its example if its priority is among the smallest `max`.
    pub(crate) fn offer(
        &mut self,
        priority: u64,
        firing: FeatureFirings<'_>,
        peak: (u32, f32),
        window: usize,
        max: usize,
    ) {
        self.count += 1;
        let place = self.kept.partition_point(|&(other, _)| other <= priority);
        if place < max {
            self.kept.insert(place, (priority, Example::new(firing, peak, window)));
            self.kept.truncate(max);
        }
    }

    pub(crate) fn into_quantile(self, (from, to): (f32, f32)) -> Quantile {
        let mut examples: Vec<Example> =
            self.kept.into_iter().map(|(_, example)| example).collect();
        examples.sort_by(|a, b| b.value.total_cmp(&a.value));
        Quantile { from, to, count: self.count, examples }
    }
}

/// A pseudo-random number for a token of a feature.
pub(crate) fn priority(seed: u64, feature: u32, context: u64, position: u32) -> u64 {
    let at = (u64::from(feature) << 32) | u64::from(position);
    mix(mix(seed ^ mix(context)) ^ at)
}

#[cfg(test)]
mod tests {
    use nanoscope_corpus::Context;

    use super::*;

    fn sampled(seed: u64, positions: impl Iterator<Item = u32>) -> Vec<u32> {
        let context = Context { index: 0, tokens: vec![0; 1000], documents: vec![0; 1000] };
        let mut sample = RandomSample::default();
        for position in positions {
            let firing = FeatureFirings { context: &context, at: &[] };
            sample.offer(priority(seed, 1, 0, position), firing, (position, 1.0), 0, 5);
        }
        assert_eq!(sample.count, 1000);
        let mut at: Vec<u32> = sample.kept.iter().map(|(_, example)| example.position).collect();
        at.sort_unstable();
        at
    }

    #[test]
    fn a_sample_does_not_depend_on_the_order_of_the_stream() {
        assert_eq!(sampled(1, 0..1000), sampled(1, (0..1000).rev()));
        assert_ne!(sampled(1, 0..1000), sampled(2, 0..1000));
    }

    #[test]
    fn every_token_is_as_likely_to_be_sampled() {
        let mut tenths = [0_u32; 10];
        for seed in 0..400 {
            for at in sampled(seed, 0..1000) {
                tenths[at as usize / 100] += 1;
            }
        }

        // 200 each, with a standard deviation of 13.
        assert!(tenths.iter().all(|&n| (140..260).contains(&n)), "{tenths:?}");
    }
}
