use nanoscope_hooks::HookPoint;

use crate::entry::FeatureEntry;
use crate::shares::SteeringShares;
use crate::writing_options::Writing;

/// The index of one SAE's features, measured on a text: their names, the data for searching them, and the
/// strengths at which they can be steered. It is a small file beside the SAE.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureIndex {
    /// The hook point of the SAE.
    pub hook: HookPoint,
    /// The [`fingerprint`](crate::fingerprint()) of the SAE.
    pub fingerprint: u64,
    /// The number of tokens of the text that count.
    pub tokens: u64,
    /// The strengths of steering that were measured, if they were.
    pub shares: Option<SteeringShares>,
    /// The measurement of the words that features write, if there was one.
    pub writing: Option<Writing>,
    /// An entry for each feature of the SAE, by index.
    pub(crate) features: Vec<FeatureEntry>,
}

impl FeatureIndex {
    /// An index with an entry for each feature of the SAE at `hook`, in order.
    ///
    /// # Panics
    /// If the entries are not those of features 0, 1, 2, … or contain numbers that are not finite.
    pub fn new(
        hook: HookPoint,
        fingerprint: u64,
        tokens: u64,
        features: Vec<FeatureEntry>,
    ) -> Self {
        for (entry, feature) in features.iter().zip(0..) {
            assert_eq!(entry.problem(feature), None, "feature {feature}");
        }
        Self { hook, fingerprint, tokens, shares: None, writing: None, features }
    }

    /// The number of features.
    pub fn d_sae(&self) -> usize {
        self.features.len()
    }

    /// The entry of `feature`.
    pub fn get(&self, feature: u32) -> Option<&FeatureEntry> {
        self.features.get(feature as usize)
    }

    /// The entries in order of index.
    pub fn iter(&self) -> impl Iterator<Item = &FeatureEntry> {
        self.features.iter()
    }

    /// The share of tokens on which `entry`'s feature fires.
    pub fn density(&self, entry: &FeatureEntry) -> f64 {
        if self.tokens == 0 { 0.0 } else { entry.fires as f64 / self.tokens as f64 }
    }
}
