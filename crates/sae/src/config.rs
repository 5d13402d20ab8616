use crate::SaeError;

/// The sizes of a sparse autoencoder and what it computes.
///
/// Of a transcoder, which reads one activation and writes another, `d_in` is the width of what it
/// reads and `d_out` that of what it writes. Otherwise the two are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeConfig {
    d_in: usize,
    d_sae: usize,
    d_out: usize,
    architecture: Architecture,
    normalization: Normalization,
    apply_b_dec_to_input: bool,
    skip: bool,
}

/// How features follow from the encoder's input `x̃`.
///
/// `x̃` is the activation, normalised if the SAE does that, less `b_dec` if
/// [`SaeConfig::apply_b_dec_to_input`] says so. `p = x̃ · W_enc + b_enc` are the pre-activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `relu(p)`. SAELens's `standard`, dictionary_learning's `AutoEncoder`, nanochat-SAE's `relu`.
    Relu,
    /// `p` where `p > θ` and `p > 0`, else 0: JumpReLU (Rajamanoharan et al. 2024,
    /// arXiv:2407.14435). Also what batch-top-k (Bussmann et al. 2024, arXiv:2412.06410) and its
    /// matryoshka form are at inference, with one `θ` for all features.
    JumpRelu,
    /// `relu` of the `k` largest `p` in each row, others 0 (Gao et al. 2024, arXiv:2406.04093); of
    /// equal values the one with the lower index is kept.
    TopK {
        /// Features kept per row at most; `1..=d_sae`.
        k: usize,
        /// Whether `p` is multiplied by the norm of the feature's decoder row before the selection,
        /// and the feature divided by it before decoding. SAELens's `rescale_acts_by_decoder_norm`.
        rescale_acts_by_decoder_norm: bool,
    },
    /// The `k` entries of `p` with the largest magnitude in each row, with their sign, others 0; of
    /// equal magnitudes the one with the lower index is kept. SAELens's `abstopk`.
    AbsTopK {
        /// Features kept per row; `1..=d_sae`.
        k: usize,
    },
    /// `relu` of the largest `p` in each of `k` equal stretches of a row, others 0. sparsify's
    /// `groupmax`.
    GroupMax {
        /// Stretches; a divisor of `d_sae`.
        k: usize,
    },
    /// `relu(x̃ · (W_enc · exp(r_mag)) + b_mag)` where `x̃ · W_enc + b_enc > 0`, else 0: the gated
    /// SAE (Rajamanoharan et al. 2024, arXiv:2404.16014). `b_enc` is its `b_gate`.
    Gated,
    /// The `k` largest `p` in each row, others 0. There is no ReLU: with fewer than `k` positive
    /// pre-activations the kept ones include negative values. nanochat-SAE's `topk`.
    SignedTopK {
        /// Features kept per row; `1..=d_sae`.
        k: usize,
    },
    /// `p` where `x̃ · W_gate + b_gate > 0`, else 0. The magnitude has no ReLU, so features can be
    /// negative. nanochat-SAE's `gated`, which is not [`Architecture::Gated`].
    SignedGated,
}

/// What happens to an activation `x` before it is encoded, and to what is decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normalization {
    /// Nothing.
    None,
    /// `x · scale`, and what is decoded `/ scale`. SAELens's `expected_average_only_in`, where
    /// `scale` is `√d_in` over the mean norm of the activations trained on. Can be folded into the
    /// weights: [`Sae::fold_normalization`](crate::Sae::fold_normalization).
    ExpectedAverageOnlyIn {
        /// Finite and above 0.
        scale: f32,
    },
    /// `x · √d_in / ‖x‖`, and what is decoded `· ‖x‖ / √d_in`. SAELens's name. A row of zeros stays
    /// one.
    ConstantNormRescale,
    /// `(x − μ) / (σ + 1e-5)`, and what is decoded `· σ + μ`, with the mean and the unbiased
    /// standard deviation of each row. SAELens's name; also OpenAI's.
    LayerNorm,
}

/// The largest sizes taken from a config: far above any SAE, and small enough that no product of
/// two of them overflows.
const MAX_SIZE: usize = 1 << 28;

impl SaeConfig {
    /// A configuration with activations of `d_in` numbers and `d_sae` features, that writes what it
    /// reads, normalises nothing and encodes activations without taking `b_dec` off.
    ///
    /// # Errors
    /// [`SaeError::Size`] if a size is zero or absurd, or more features are kept than there are;
    /// [`SaeError::Groups`] if stretches of features are not equal.
    pub fn new(d_in: usize, d_sae: usize, architecture: Architecture) -> Result<Self, SaeError> {
        check_size("d_in", d_in, MAX_SIZE)?;
        check_feature_count(d_sae)?;
        match architecture {
            Architecture::TopK { k, .. }
            | Architecture::AbsTopK { k }
            | Architecture::SignedTopK { k } => {
                check_size("k", k, d_sae)?;
            }
            Architecture::GroupMax { k } => {
                check_size("k", k, d_sae)?;
                if !d_sae.is_multiple_of(k) {
                    return Err(SaeError::Groups { k, d_sae });
                }
            }
            _ => {}
        }
        Ok(Self {
            d_in,
            d_sae,
            d_out: d_in,
            architecture,
            normalization: Normalization::None,
            apply_b_dec_to_input: false,
            skip: false,
        })
    }

    /// The same, of a transcoder that writes `d_out` numbers.
    ///
    /// # Errors
    /// [`SaeError::Size`]; [`SaeError::BDecOfAnotherWidth`] if `b_dec`, which is as wide as what is
    /// written, is to be taken off what is read.
    pub fn with_d_out(self, d_out: usize) -> Result<Self, SaeError> {
        check_size("d_out", d_out, MAX_SIZE)?;
        Self { d_out, ..self }.checked()
    }

    /// The same with a normalisation.
    ///
    /// # Errors
    /// [`SaeError::Scale`] if its scale is not finite or not above 0; [`SaeError::Size`] if rows of
    /// one number are to have a standard deviation.
    pub fn with_normalization(self, normalization: Normalization) -> Result<Self, SaeError> {
        Self { normalization, ..self }.checked()
    }

    /// The same with `b_dec` taken off the encoder's input, or not.
    ///
    /// # Errors
    /// [`SaeError::BDecOfAnotherWidth`] if `b_dec` does not have `d_in` numbers.
    pub fn with_apply_b_dec_to_input(self, apply: bool) -> Result<Self, SaeError> {
        Self { apply_b_dec_to_input: apply, ..self }.checked()
    }

    /// The same with a skip connection: `x · W_skip` is added to what is decoded.
    pub fn with_skip(self) -> Self {
        Self { skip: true, ..self }
    }

    /// The same with another architecture of the same sizes.
    pub(crate) fn with_architecture(self, architecture: Architecture) -> Self {
        Self { architecture, ..self }
    }

    fn checked(self) -> Result<Self, SaeError> {
        if self.apply_b_dec_to_input && self.d_out != self.d_in {
            return Err(SaeError::BDecOfAnotherWidth { d_in: self.d_in, d_out: self.d_out });
        }
        match self.normalization {
            Normalization::ExpectedAverageOnlyIn { scale }
                if !(scale > 0.0 && scale < f32::MAX) =>
            {
                Err(SaeError::Scale { found: scale })
            }
            Normalization::LayerNorm if self.d_in == 1 => Err(SaeError::DeviationOfOne),
            _ => Ok(self),
        }
    }

    /// Numbers per activation that is read.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// Features.
    pub fn d_sae(&self) -> usize {
        self.d_sae
    }

    /// Numbers per activation that is written.
    pub fn d_out(&self) -> usize {
        self.d_out
    }

    /// How features follow from activations.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// What happens to activations before they are encoded.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// Whether `b_dec` is taken off the (normalised) activation before it is encoded.
    pub fn apply_b_dec_to_input(&self) -> bool {
        self.apply_b_dec_to_input
    }

    /// Whether `x · W_skip` is added to what is decoded.
    pub fn skip(&self) -> bool {
        self.skip
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

/// Checks a number of features, as [`SaeConfig::new`] does.
pub(crate) fn check_feature_count(d_sae: usize) -> Result<(), SaeError> {
    check_size("d_sae", d_sae, MAX_SIZE)
}

fn check_size(field: &'static str, found: usize, most: usize) -> Result<(), SaeError> {
    if (1..=most).contains(&found) { Ok(()) } else { Err(SaeError::Size { field, found, most }) }
}

impl Architecture {
    /// A short name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::JumpRelu => "jumprelu",
            Self::TopK { rescale_acts_by_decoder_norm: false, .. } => "top-k",
            Self::TopK { rescale_acts_by_decoder_norm: true, .. } => "rescaled top-k",
            Self::AbsTopK { .. } => "abs-top-k",
            Self::GroupMax { .. } => "groupmax",
            Self::Gated => "gated",
            Self::SignedTopK { .. } => "signed top-k",
            Self::SignedGated => "signed gated",
        }
    }

    /// Features kept per row, if their number is fixed.
    pub fn k(self) -> Option<usize> {
        match self {
            Self::TopK { k, .. }
            | Self::AbsTopK { k }
            | Self::GroupMax { k }
            | Self::SignedTopK { k } => Some(k),
            Self::Relu | Self::JumpRelu | Self::Gated | Self::SignedGated => None,
        }
    }
}

impl Normalization {
    /// SAELens's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ExpectedAverageOnlyIn { .. } => "expected_average_only_in",
            Self::ConstantNormRescale => "constant_norm_rescale",
            Self::LayerNorm => "layer_norm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relu(d_in: usize) -> SaeConfig {
        SaeConfig::new(d_in, 8, Architecture::Relu).unwrap()
    }

    #[test]
    fn sizes_that_make_no_sae_are_errors() {
        let top_k = |k| SaeConfig::new(4, 8, Architecture::SignedTopK { k });

        assert!(top_k(8).is_ok());
        assert_eq!(top_k(9).unwrap_err().to_string(), "k is 9, it must be in 1..=8");
        assert_eq!(top_k(0).unwrap_err().to_string(), "k is 0, it must be in 1..=8");
        assert!(SaeConfig::new(0, 8, Architecture::Relu).is_err());
        assert!(SaeConfig::new(4, usize::MAX, Architecture::Relu).is_err());
        assert!(relu(4).with_d_out(0).is_err());
        assert_eq!(
            SaeConfig::new(4, 8, Architecture::GroupMax { k: 3 }).unwrap_err().to_string(),
            "8 features do not make 3 groups of the same size"
        );
    }

    #[test]
    fn what_cannot_be_computed_is_an_error() {
        let scale =
            |scale| relu(4).with_normalization(Normalization::ExpectedAverageOnlyIn { scale });

        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let message = format!("the activations' scale is {bad}, it must be finite and above 0");
            assert_eq!(scale(bad).unwrap_err().to_string(), message);
        }
        assert!(scale(0.3).is_ok());
        assert_eq!(
            relu(1).with_normalization(Normalization::LayerNorm).unwrap_err().to_string(),
            "layer_norm needs activations of at least two numbers"
        );
        let transcoder = relu(4).with_d_out(6).unwrap();
        assert_eq!(
            transcoder.with_apply_b_dec_to_input(true).unwrap_err().to_string(),
            "b_dec has 6 numbers, it cannot be taken off activations of 4"
        );
    }

    #[test]
    fn a_feature_out_of_range_is_an_error_that_says_the_range() {
        assert_eq!(relu(4).check_feature(7), Ok(()));
        assert_eq!(
            relu(4).check_feature(8).unwrap_err().to_string(),
            "feature 8 is out of range, the SAE has 8 (0 to 7)"
        );
    }
}
