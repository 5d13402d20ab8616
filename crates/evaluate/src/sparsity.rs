//! Metrics of feature activity: how often, and in how many contexts.

use nanoscope_sae::SparseFeatures;

use crate::mean::Mean;

/// Running sums over counted tokens. A feature fires where its value is not 0.
#[derive(Debug, Clone)]
pub(crate) struct Sparsity {
    pub(crate) l0: Mean,
    pub(crate) l1: Mean,
    /// Number of tokens at which each feature fires.
    firings: Vec<u64>,
    /// Number of contexts in which each feature fires.
    contexts: Vec<u64>,
    /// The last context in which each feature fired, counted from 1.
    last: Vec<u64>,
    context: u64,
}

impl Sparsity {
    pub(crate) fn new(d_sae: usize) -> Self {
        let zeros = vec![0; d_sae];
        Self {
            l0: Mean::default(),
            l1: Mean::default(),
            firings: zeros.clone(),
            contexts: zeros.clone(),
            last: zeros,
            context: 0,
        }
    }

    /// Adds the counted tokens of one context.
    pub(crate) fn add_context<R>(&mut self, rows: impl Iterator<Item = R>)
    where
        R: Iterator<Item = (u32, f32)>,
    {
        self.context += 1;
        for row in rows {
            let (mut l0, mut l1) = (0_u32, 0.0);
            for (feature, value) in row {
                l0 += 1;
                l1 += f64::from(value).abs();
                let feature = feature as usize;
                self.firings[feature] += 1;
                if self.last[feature] != self.context {
                    self.last[feature] = self.context;
                    self.contexts[feature] += 1;
                }
            }
            self.l0.add(f64::from(l0));
            self.l1.add(l1);
        }
    }

    /// Number of counted tokens.
    pub(crate) fn tokens(&self) -> u64 {
        self.l0.count
    }

    pub(crate) fn density(&self, feature: usize) -> f64 {
        self.firings[feature] as f64 / self.tokens() as f64
    }

    /// Mean number of firings in the contexts in which the feature fires; NaN if it never does.
    pub(crate) fn consistency(&self, feature: usize) -> f64 {
        self.firings[feature] as f64 / self.contexts[feature] as f64
    }

    pub(crate) fn dead(&self) -> usize {
        self.firings.iter().filter(|&&firings| firings == 0).count()
    }

    pub(crate) fn share_dead(&self) -> f64 {
        self.dead() as f64 / self.firings.len() as f64
    }

    /// The fraction of features with a density above `bound`.
    pub(crate) fn frequent(&self, bound: f64) -> f64 {
        let frequent = (0..self.firings.len()).filter(|&feature| self.density(feature) > bound);
        frequent.count() as f64 / self.firings.len() as f64
    }

    /// The fraction of all firings that come from features with a density above `bound`.
    pub(crate) fn firings_of_frequent(&self, bound: f64) -> f64 {
        let all: u64 = self.firings.iter().sum();
        if all == 0 {
            return 0.0;
        }
        let frequent = (0..self.firings.len()).filter(|&feature| self.density(feature) > bound);
        frequent.map(|feature| self.firings[feature]).sum::<u64>() as f64 / all as f64
    }
}

/// Returns the counted rows of `features`.
pub(crate) fn kept<'f>(
    features: &'f SparseFeatures,
    counts: &'f [bool],
    rows: std::ops::Range<usize>,
) -> impl Iterator<Item = impl Iterator<Item = (u32, f32)> + 'f> + 'f {
    rows.filter(|&row| counts[row]).map(|row| features.row(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two contexts of two tokens; the last token of the second is not counted.
    fn four_features() -> Sparsity {
        let mut features = SparseFeatures::new(4);
        features.push_row([(0, 1.0), (1, -2.0)]);
        features.push_row([(0, 3.0)]);
        features.push_row([(0, 1.0), (2, 1.0)]);
        features.push_row([(3, 9.0)]);
        let counts = [true, true, true, false];
        let mut sparsity = Sparsity::new(4);
        sparsity.add_context(kept(&features, &counts, 0..2));
        sparsity.add_context(kept(&features, &counts, 2..4));
        sparsity
    }

    #[test]
    fn features_are_counted_by_token_and_by_context() {
        let sparsity = four_features();

        assert_eq!(sparsity.tokens(), 3);
        assert_eq!(sparsity.l0.get(), 5.0 / 3.0);
        assert_eq!(sparsity.l1.get(), 8.0 / 3.0);
        assert_eq!((sparsity.density(0), sparsity.density(1)), (1.0, 1.0 / 3.0));
        // Feature 0 fires twice in the first context and once in the second.
        assert_eq!((sparsity.consistency(0), sparsity.consistency(1)), (1.5, 1.0));
    }

    #[test]
    fn a_feature_that_fires_only_where_nothing_counts_is_dead() {
        let sparsity = four_features();

        assert_eq!(sparsity.dead(), 1);
        assert_eq!(sparsity.share_dead(), 0.25);
        assert!(sparsity.consistency(3).is_nan());
    }

    #[test]
    fn frequent_features_are_those_above_the_bound() {
        let sparsity = four_features();

        assert_eq!((sparsity.frequent(0.5), sparsity.frequent(0.1)), (0.25, 0.75));
        assert_eq!(sparsity.frequent(1.0), 0.0);
        assert_eq!(sparsity.firings_of_frequent(0.5), 3.0 / 5.0);
        assert_eq!(Sparsity::new(2).firings_of_frequent(0.01), 0.0);
    }
}
