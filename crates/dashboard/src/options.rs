use std::ops::Range;

use nanoscope_corpus::SpecialTokens;

use crate::DashboardError;

/// Options for building a dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The features that get a page.
    pub features: Range<u32>,
    /// The maximum number of top activations of a feature. Default: 20, as in SAEDashboard.
    pub examples: usize,
    /// The maximum number of examples from each of [`QUANTILES`](crate::QUANTILES) intervals of a feature's
    /// activations. Default: 5, as in SAEDashboard.
    pub per_quantile: usize,
    /// The number of tokens shown on either side of an example's peak. Default: 16.
    pub window: usize,
    /// True if the nearest features of each are computed, in its own SAE and in the others. Default: true.
    pub neighbours: bool,
    /// The treatment of special tokens in counts. Windows show them in either case. Default:
    /// [`SpecialTokens::Skip`].
    pub special: SpecialTokens,
    /// The seed for sampling examples. The same seed gives the same dashboard. Default: 42.
    pub seed: u64,
}

impl Options {
    /// The default options for a range of features.
    pub fn new(features: Range<u32>) -> Self {
        Self {
            features,
            examples: 20,
            per_quantile: 5,
            window: 16,
            neighbours: true,
            special: SpecialTokens::Skip,
            seed: 42,
        }
    }

    /// Reduces the number and the length of examples: 2048 features take less than 3 MB.
    pub fn compact(self) -> Self {
        Self { examples: 8, per_quantile: 1, window: 10, ..self }
    }

    /// Checks that an SAE with `d_sae` features contains the range. Call it before the text is read.
    ///
    /// # Errors
    /// [`DashboardError::FeatureRange`] if the range is empty or exceeds the SAE.
    pub fn check(&self, d_sae: usize) -> Result<(), DashboardError> {
        let Range { start, end } = self.features;
        if self.features.is_empty() || end as usize > d_sae {
            return Err(DashboardError::FeatureRange { from: start, to: end, d_sae });
        }
        Ok(())
    }
}

/// The progress of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The current stage.
    pub stage: Stage,
    /// The number of tokens read or features processed in this stage.
    pub done: u64,
}

/// A stage of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The first pass over the text; counts tokens.
    Surveying,
    /// The second pass over the text; counts tokens.
    Gathering,
    /// The comparison of weights; counts features.
    Weights,
}
