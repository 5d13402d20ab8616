use nanoscope_runtime::FeatureStats;

use crate::gather::PairCount;

/// A feature that fires on the same tokens as another one, with measures of their overlap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoActivation {
    /// The feature's index.
    pub feature: u32,
    /// The number of tokens on which both fire.
    pub count: u32,
    /// `count` divided by the number of tokens on which either fires.
    pub jaccard: f64,
    /// `count` divided by the number of tokens on which the page's feature fires.
    pub share: f64,
    /// Pearson's correlation of their activations over all tokens; 0 if one of them is constant.
    pub pearson: f64,
    /// The cosine similarity of their activations over all tokens.
    pub cosine: f64,
}

/// Computes the measures from the counts of a pair. `squares` has the sum of squared activations per
/// feature of the SAE.
pub(crate) fn co_activation(
    stats: &FeatureStats,
    squares: &[f64],
    feature: u32,
    pair: PairCount,
) -> CoActivation {
    let (a, b) = (stats.get(feature), stats.get(pair.other));
    let (a2, b2) = (squares[feature as usize], squares[pair.other as usize]);
    let n = stats.tokens() as f64;
    let both = f64::from(pair.count);
    let covariance = n * pair.product - a.sum * b.sum;
    let variances = (n * a2 - a.sum * a.sum) * (n * b2 - b.sum * b.sum);
    CoActivation {
        feature: pair.other,
        count: pair.count,
        jaccard: both / (a.fires as f64 + b.fires as f64 - both),
        share: both / a.fires as f64,
        pearson: if variances > 0.0 { covariance / variances.sqrt() } else { 0.0 },
        cosine: if a2 * b2 > 0.0 { pair.product / (a2 * b2).sqrt() } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_sae::SparseFeatures;

    use super::*;

    #[test]
    fn what_fires_together_is_measured_as_its_names_say() {
        let rows: [&[(u32, f32)]; 4] = [&[(0, 1.0), (1, 2.0)], &[(0, 3.0)], &[(1, 4.0)], &[]];
        let mut features = SparseFeatures::new(2);
        for row in rows {
            features.push_row(row.iter().copied());
        }
        let mut stats = FeatureStats::new(2, 0);
        stats.add(&features, [Some(0); 4]);

        let pair = PairCount { other: 1, count: 1, product: 2.0 };
        let found = co_activation(&stats, &[10.0, 20.0], 0, pair);

        assert_eq!((found.jaccard, found.share), (1.0 / 3.0, 0.5));
        // Columns [1, 3, 0, 0] and [2, 0, 4, 0]: covariance 4·2 − 4·6, variances 40 − 16 and 80 − 36.
        assert!((found.pearson - -16.0 / (24.0_f64 * 44.0).sqrt()).abs() < 1e-12);
        assert!((found.cosine - 2.0 / 200.0_f64.sqrt()).abs() < 1e-12);
    }
}
