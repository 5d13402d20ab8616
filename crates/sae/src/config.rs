use crate::SaeError;

/// The sizes of a sparse autoencoder and what it computes.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeConfig {
    d_in: usize,
    d_sae: usize,
    architecture: Architecture,
}

/// How features follow from an activation. Every architecture decodes by `f · W_dec + b_dec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// The `k` largest of `x · W_enc + b_enc` in each row, others 0. There is no ReLU: with fewer
    /// than `k` positive pre-activations the kept ones include negative values. nanochat-SAE's
    /// `topk`; of equal values the one with the lower index is kept.
    SignedTopK {
        /// Features kept per row; `1..=d_sae`.
        k: usize,
    },
    /// `relu(x · W_enc + b_enc)`. nanochat-SAE's `relu`.
    Relu,
    /// `(x · W_enc + b_enc) · 1[x · W_gate + b_gate > 0]`. The magnitude has no ReLU, so features
    /// can be negative. nanochat-SAE's `gated`, which is not the gated SAE of Rajamanoharan et al.
    /// 2024 (arXiv:2404.16014).
    SignedGated,
}

/// The largest sizes taken from a config: far above any SAE, and small enough that no product of
/// two of them overflows.
const MOST: usize = 1 << 28;

impl SaeConfig {
    /// A configuration with activations of `d_in` numbers and `d_sae` features.
    ///
    /// # Errors
    /// [`SaeError::Size`] if a size is zero or absurd, or more features are kept than there are.
    pub fn new(d_in: usize, d_sae: usize, architecture: Architecture) -> Result<Self, SaeError> {
        let size = |field, found, most| {
            if (1..=most).contains(&found) {
                Ok(())
            } else {
                Err(SaeError::Size { field, found, most })
            }
        };
        size("d_in", d_in, MOST)?;
        size("d_sae", d_sae, MOST)?;
        if let Architecture::SignedTopK { k } = architecture {
            size("k", k, d_sae)?;
        }
        Ok(Self { d_in, d_sae, architecture })
    }

    /// Numbers per activation.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// Features.
    pub fn d_sae(&self) -> usize {
        self.d_sae
    }

    /// What it computes.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Checks that `feature` is one of this SAE's.
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`].
    pub fn check_feature(&self, feature: usize) -> Result<(), SaeError> {
        if feature < self.d_sae {
            Ok(())
        } else {
            Err(SaeError::FeatureOutOfRange { feature, d_sae: self.d_sae })
        }
    }
}

impl Architecture {
    /// A short name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::SignedTopK { .. } => "signed top-k",
            Self::Relu => "relu",
            Self::SignedGated => "signed gated",
        }
    }

    /// Whether it has gate weights.
    pub(crate) fn has_gate(self) -> bool {
        self == Self::SignedGated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_make_no_sae_are_errors() {
        let top_k = |k| SaeConfig::new(4, 8, Architecture::SignedTopK { k });

        assert!(top_k(8).is_ok());
        assert_eq!(top_k(9).unwrap_err().to_string(), "k is 9, it must be in 1..=8");
        assert_eq!(top_k(0).unwrap_err().to_string(), "k is 0, it must be in 1..=8");
        assert!(SaeConfig::new(0, 8, Architecture::Relu).is_err());
        assert!(SaeConfig::new(4, usize::MAX, Architecture::Relu).is_err());
    }

    #[test]
    fn a_feature_out_of_range_is_an_error_that_says_the_range() {
        let config = SaeConfig::new(4, 8, Architecture::Relu).unwrap();

        assert_eq!(config.check_feature(7), Ok(()));
        assert_eq!(
            config.check_feature(8).unwrap_err().to_string(),
            "feature 8 is out of range, the SAE has 8 (0 to 7)"
        );
    }
}
