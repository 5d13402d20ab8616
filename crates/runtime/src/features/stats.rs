use nanoscope_sae::SparseFeatures;

/// Activation statistics of the features of an SAE, accumulated batch by batch.
///
/// Memory is proportional to the number of features, not of tokens. A feature fires where its
/// activation is not 0.
///
/// ```
/// use nanoscope_runtime::FeatureStats;
/// use nanoscope_sae::SparseFeatures;
///
/// let mut features = SparseFeatures::new(3);
/// features.push_row([(0, 9.0)]); // `<|bos|>`
/// features.push_row([(2, 4.0)]);
/// features.push_row([(1, 1.0), (2, 6.0)]);
///
/// let mut stats = FeatureStats::new(3, 1);
/// stats.add(&features, [None, Some(1), Some(2)]);
///
/// assert_eq!((stats.tokens(), stats.mean(2)), (2, 5.0));
/// assert_eq!(stats.ranked(|stat| f64::from(stat.max_activation)), [2, 1]);
/// assert_eq!(stats.get(2).peaks[0].at, 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureStats {
    features: Vec<FeatureStat>,
    tokens: u64,
    max_peaks: usize,
}

/// The activation statistics of one feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureStat {
    /// The number of tokens at which the feature fires.
    pub fires: u64,
    /// The largest activation where the feature fires; 0 if it never does. Negative only for SAEs
    /// whose features can be negative.
    pub max_activation: f32,
    /// The sum of the activations.
    pub sum: f64,
    /// The strongest activations, largest first; ties in order of arrival.
    pub peaks: Vec<Peak>,
}

/// A strong activation of a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// The caller's number for the token.
    pub at: u64,
    /// The activation at the token.
    pub value: f32,
}

impl FeatureStats {
    /// Creates empty statistics for an SAE with `d_sae` features. They keep up to `max_peaks` peaks
    /// of each feature.
    pub fn new(d_sae: usize, max_peaks: usize) -> Self {
        Self { features: vec![FeatureStat::default(); d_sae], tokens: 0, max_peaks }
    }

    /// Adds the tokens of `features`. `places` gives each token a number that identifies it to the
    /// caller, or `None` to skip it, as is usual for special tokens.
    ///
    /// # Panics
    /// If the number of features differs from the SAE's, or the number of places from that of rows.
    pub fn add(
        &mut self,
        features: &SparseFeatures,
        places: impl IntoIterator<Item = Option<u64>>,
    ) {
        assert_eq!(features.d_sae(), self.features.len(), "features of another SAE");
        let mut places = places.into_iter();
        for row in 0..features.rows() {
            let Some(at) = places.next().expect("a place for each row") else { continue };
            self.tokens += 1;
            for (feature, value) in features.row(row) {
                self.features[feature as usize].add(at, value, self.max_peaks);
            }
        }
        assert!(places.next().is_none(), "more places than rows");
    }

    /// The number of tokens added, without those skipped.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The number of features.
    pub fn d_sae(&self) -> usize {
        self.features.len()
    }

    /// The statistics of `feature`.
    ///
    /// # Panics
    /// If `feature` is out of range.
    pub fn get(&self, feature: u32) -> &FeatureStat {
        &self.features[feature as usize]
    }

    /// The mean activation of `feature` over all tokens, including those at which it does not fire.
    ///
    /// # Panics
    /// If `feature` is out of range.
    pub fn mean(&self, feature: u32) -> f64 {
        self.per_token(self.get(feature).sum)
    }

    /// The density of `feature`: the fraction of tokens at which it fires.
    ///
    /// # Panics
    /// If `feature` is out of range.
    pub fn density(&self, feature: u32) -> f64 {
        self.per_token(self.get(feature).fires as f64)
    }

    fn per_token(&self, sum: f64) -> f64 {
        if self.tokens == 0 { 0.0 } else { sum / self.tokens as f64 }
    }

    /// Returns the features that fire, largest `key` first. Ties are broken by the larger max
    /// activation, then by the lower index.
    pub fn ranked(&self, key: impl Fn(&FeatureStat) -> f64) -> Vec<u32> {
        let mut firing: Vec<u32> = (0..self.features.len() as u32)
            .filter(|&feature| self.get(feature).fires > 0)
            .collect();
        firing.sort_by(|&a, &b| {
            let (a, b) = (self.get(a), self.get(b));
            key(b).total_cmp(&key(a)).then(b.max_activation.total_cmp(&a.max_activation))
        });
        firing
    }
}

impl FeatureStat {
    fn add(&mut self, at: u64, value: f32, max_peaks: usize) {
        self.max_activation = if self.fires == 0 { value } else { self.max_activation.max(value) };
        self.fires += 1;
        self.sum += f64::from(value);
        let place = self.peaks.partition_point(|peak| peak.value >= value);
        if place < max_peaks {
            self.peaks.insert(place, Peak { at, value });
            self.peaks.truncate(max_peaks);
        }
    }
}

/// Ranks features by how much more they fire in `a` than in `b`: by the difference of their means
/// over tokens, `mean_a − mean_b`, largest first. Features whose difference is not positive
/// are omitted.
///
/// # Panics
/// If the numbers of features differ.
pub fn mean_differences(a: &FeatureStats, b: &FeatureStats) -> Vec<(u32, f64)> {
    assert_eq!(a.d_sae(), b.d_sae(), "statistics of different SAEs");
    let difference = |feature| (feature, a.mean(feature) - b.mean(feature));
    let firing = a.ranked(|stat| f64::from(stat.max_activation)).into_iter();
    let mut differences: Vec<_> = firing.map(difference).filter(|&(_, by)| by > 0.0).collect();
    differences.sort_by(|a, b| b.1.total_cmp(&a.1));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(rows: &[&[(u32, f32)]]) -> SparseFeatures {
        let mut features = SparseFeatures::new(3);
        for row in rows {
            features.push_row(row.iter().copied());
        }
        features
    }

    #[test]
    fn what_features_do_is_gathered_over_batches() {
        let mut stats = FeatureStats::new(3, 2);

        stats.add(&features(&[&[(0, 1.0)], &[(0, 3.0), (1, -2.0)]]), [Some(10), Some(11)]);
        stats.add(&features(&[&[(0, 3.0)], &[]]), [Some(12), Some(13)]);

        assert_eq!(stats.tokens(), 4);
        let peaks = vec![Peak { at: 11, value: 3.0 }, Peak { at: 12, value: 3.0 }];
        assert_eq!(*stats.get(0), FeatureStat { fires: 3, max_activation: 3.0, sum: 7.0, peaks });
        assert_eq!((stats.mean(0), stats.density(0)), (1.75, 0.75));
        assert_eq!((stats.get(1).max_activation, stats.mean(1)), (-2.0, -0.5));
        assert_eq!(*stats.get(2), FeatureStat::default());
    }

    #[test]
    fn a_token_that_is_left_out_counts_nowhere() {
        let mut stats = FeatureStats::new(3, 2);

        stats.add(&features(&[&[(0, 9.0)], &[(0, 1.0)]]), [None, Some(1)]);

        assert_eq!((stats.tokens(), stats.get(0).max_activation, stats.mean(0)), (1, 1.0, 1.0));
    }

    #[test]
    fn features_are_ranked_by_what_is_asked_and_the_silent_left_out() {
        let mut stats = FeatureStats::new(3, 1);
        stats.add(&features(&[&[(1, 5.0)], &[(2, 2.0)], &[(2, 4.0)]]), (0..3).map(Some));

        assert_eq!(stats.ranked(|stat| f64::from(stat.max_activation)), [1, 2]);
        assert_eq!(stats.ranked(|stat| stat.sum), [2, 1]);
        assert_eq!(stats.ranked(|stat| stat.fires as f64), [2, 1]);
        assert_eq!(stats.ranked(|_| 0.0), [1, 2]);
    }

    #[test]
    fn the_difference_of_means_does_not_depend_on_how_long_the_texts_are() {
        let (mut a, mut b) = (FeatureStats::new(3, 1), FeatureStats::new(3, 1));
        a.add(&features(&[&[(0, 4.0), (1, 6.0)], &[(2, 1.0)]]), (0..2).map(Some));
        b.add(&features(&[&[(0, 1.0)], &[(2, 4.0)], &[], &[(0, 1.0)]]), (0..4).map(Some));

        // 0: 4/2 − 2/4, 1: 6/2 − 0, 2: 1/2 − 4/4
        assert_eq!(mean_differences(&a, &b), [(1, 3.0), (0, 1.5)]);
    }

    #[test]
    fn nothing_is_known_of_no_tokens() {
        let stats = FeatureStats::new(3, 1);

        assert_eq!((stats.mean(0), stats.density(0)), (0.0, 0.0));
        assert!(stats.ranked(|stat| stat.sum).is_empty());
    }
}
