use std::ops::Range;

/// The maximum number of pairs for which every pair has a counter: 200 MB.
const MAX_COUNTED_PAIRS: usize = 1 << 24;
/// The number of candidates per feature if there are more pairs.
const MAX_CANDIDATES: usize = 64;

/// Counts of tokens on which two features fire, for the features of a range with all others.
///
/// Up to 2²⁴ pairs, each has a counter. Beyond that, the first pass finds the most frequent partners of each
/// feature with one counter per candidate (Space-Saving, Metwally et al. 2005), and the second pass counts
/// these. The counts are exact, and a partner that is missed accounts for at most 1/64 of the feature's
/// co-activations.
#[derive(Debug)]
pub(crate) struct PairCounts {
    features: Range<u32>,
    d_sae: usize,
    store: Store,
}

/// The counters.
#[derive(Debug)]
enum Store {
    /// A counter for each pair, `[features, d_sae]`.
    All { counts: Vec<u32>, products: Vec<f64> },
    /// The candidates of each feature; in order of index after the first pass.
    Candidates(Vec<Vec<PairCount>>),
}

/// The counts of a feature's pair with `other`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PairCount {
    pub(crate) other: u32,
    /// The number of tokens on which both fire.
    pub(crate) count: u32,
    /// The sum over these tokens of the product of the activations.
    pub(crate) product: f64,
}

impl PairCounts {
    pub(crate) fn new(features: Range<u32>, d_sae: usize) -> Self {
        Self::with_max_pairs(features, d_sae, MAX_COUNTED_PAIRS)
    }

    fn with_max_pairs(features: Range<u32>, d_sae: usize, max_pairs: usize) -> Self {
        let store = match features.len().checked_mul(d_sae) {
            Some(pairs) if pairs <= max_pairs => {
                Store::All { counts: vec![0; pairs], products: vec![0.0; pairs] }
            }
            _ => Store::Candidates(vec![Vec::new(); features.len()]),
        };
        Self { features, d_sae, store }
    }

    /// Processes the features of a token in the first pass.
    pub(crate) fn survey(&mut self, row: &[(u32, f32)]) {
        let Store::Candidates(candidates) = &mut self.store else { return };
        for &(feature, _) in row.iter().filter(|(feature, _)| self.features.contains(feature)) {
            let candidates = &mut candidates[(feature - self.features.start) as usize];
            for &(other, _) in row.iter().filter(|&&(other, _)| other != feature) {
                count_candidate(candidates, other);
            }
        }
    }

    /// Ends the first pass.
    pub(crate) fn finish_survey(&mut self) {
        let Store::Candidates(candidates) = &mut self.store else { return };
        for candidates in candidates {
            candidates.sort_unstable_by_key(|pair| pair.other);
            for pair in candidates {
                pair.count = 0;
            }
        }
    }

    /// Processes the features of a token in the second pass.
    pub(crate) fn count(&mut self, row: &[(u32, f32)]) {
        for &(feature, x) in row.iter().filter(|(feature, _)| self.features.contains(feature)) {
            let at = (feature - self.features.start) as usize;
            match &mut self.store {
                Store::All { counts, products } => {
                    let from = at * self.d_sae;
                    for &(other, y) in row {
                        counts[from + other as usize] += 1;
                        products[from + other as usize] += f64::from(x) * f64::from(y);
                    }
                }
                Store::Candidates(candidates) => {
                    for &(other, y) in row {
                        let pairs = &mut candidates[at];
                        if let Ok(at) = pairs.binary_search_by_key(&other, |pair| pair.other) {
                            pairs[at].count += 1;
                            pairs[at].product += f64::from(x) * f64::from(y);
                        }
                    }
                }
            }
        }
    }

    /// Returns the features that fire on the same tokens as `feature`, in order of index.
    pub(crate) fn partners(&self, feature: u32) -> Vec<PairCount> {
        let at = (feature - self.features.start) as usize;
        let pairs: Vec<PairCount> = match &self.store {
            Store::All { counts, products } => {
                let range = at * self.d_sae..(at + 1) * self.d_sae;
                let both = counts[range.clone()].iter().zip(&products[range]);
                (0..)
                    .zip(both)
                    .map(|(other, (&count, &product))| PairCount { other, count, product })
                    .collect()
            }
            Store::Candidates(candidates) => candidates[at].clone(),
        };
        pairs.into_iter().filter(|pair| pair.count > 0 && pair.other != feature).collect()
    }
}

/// Counts one co-activation with `other`, which replaces the rarest candidate if the list is full.
fn count_candidate(candidates: &mut Vec<PairCount>, other: u32) {
    if let Some(pair) = candidates.iter_mut().find(|pair| pair.other == other) {
        pair.count = pair.count.saturating_add(1);
    } else if candidates.len() < MAX_CANDIDATES {
        candidates.push(PairCount { other, count: 1, product: 0.0 });
    } else {
        let rarest = candidates.iter_mut().min_by_key(|pair| pair.count);
        let rarest = rarest.expect("the list is full");
        *rarest = PairCount { other, count: rarest.count.saturating_add(1), product: 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feature 1 with 2 at every token, with one of 200 others beside.
    fn rows() -> Vec<Vec<(u32, f32)>> {
        (0..1000).map(|n| vec![(1, 2.0), (2, 3.0), (10 + n % 200, 1.0)]).collect()
    }

    fn pairs(max_pairs: usize) -> PairCounts {
        let mut pairs = PairCounts::with_max_pairs(1..3, 300, max_pairs);
        for row in rows() {
            pairs.survey(&row);
        }
        pairs.finish_survey();
        for row in rows() {
            pairs.count(&row);
        }
        pairs
    }

    #[test]
    fn every_pair_is_counted_where_there_is_room() {
        let all = pairs(600).partners(1);

        assert_eq!(all.len(), 201);
        assert_eq!(all[0], PairCount { other: 2, count: 1000, product: 6000.0 });
        assert_eq!(all[1], PairCount { other: 10, count: 5, product: 10.0 });
    }

    #[test]
    fn the_most_frequent_partner_is_counted_exactly_where_there_is_none() {
        let some = pairs(599).partners(1);

        assert!(some.len() <= MAX_CANDIDATES);
        assert_eq!(some[0], PairCount { other: 2, count: 1000, product: 6000.0 });
        let all = pairs(600).partners(1);
        assert!(some.iter().all(|pair| all.contains(pair)), "{some:?}");
    }
}
