use std::ops::Range;

use nanoscope_corpus::SpecialTokens;

use crate::DashboardError;

/// What a dashboard shows, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The features that have a page.
    pub features: Range<u32>,
    /// Examples of a feature where it is strongest, at most. Default: 20, as SAEDashboard.
    pub examples: usize,
    /// Examples in each of [`QUANTILES`](crate::QUANTILES) parts of a feature's values, at most.
    /// Default: 5, as SAEDashboard.
    pub per_quantile: usize,
    /// Tokens shown on either side of one. Default: 16.
    pub window: usize,
    /// What becomes of special tokens; they are shown in windows in any case. Default:
    /// [`SpecialTokens::Skip`].
    pub special: SpecialTokens,
    /// Which examples are sampled. Same seed, same dashboard. Default: 42.
    pub seed: u64,
}

impl Options {
    /// The defaults, for `features`.
    pub fn new(features: Range<u32>) -> Self {
        Self {
            features,
            examples: 20,
            per_quantile: 5,
            window: 16,
            special: SpecialTokens::Skip,
            seed: 42,
        }
    }

    /// Fewer and shorter examples: 2048 features in less than 3 MB.
    pub fn compact(self) -> Self {
        Self { examples: 8, per_quantile: 1, window: 10, ..self }
    }

    /// Whether an SAE of `d_sae` features has those that were asked for. To know before the text is
    /// read.
    ///
    /// # Errors
    /// [`DashboardError::NoFeatures`].
    pub fn check(&self, d_sae: usize) -> Result<(), DashboardError> {
        let Range { start, end } = self.features;
        if self.features.is_empty() || end as usize > d_sae {
            return Err(DashboardError::NoFeatures { from: start, to: end, d_sae });
        }
        Ok(())
    }
}

/// How far the making of a dashboard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Tokens read, or features measured.
    pub done: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The text is read for the first time; counts tokens.
    Surveying,
    /// The text is read for the second time; counts tokens.
    Gathering,
    /// Weights are compared; counts features.
    Weights,
}
