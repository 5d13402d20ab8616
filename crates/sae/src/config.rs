use std::ops::RangeInclusive;

use crate::SaeError;

/// The sizes and the architecture of a sparse autoencoder.
///
/// A transcoder encodes one activation and decodes to another: `d_in` is the width of the former and
/// `d_out` the width of the latter. For other SAEs the two are the same.
///
/// Serde writes an object with a key per field; `architecture` and `normalization` are objects with a
/// `type`, such as `{"type": "topk", "k": 32, "rescale_acts_by_decoder_norm": false}`. Reading checks
/// the configuration as the constructors do; everything but `d_in`, `d_sae` and `architecture` can be
/// left out.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeConfig {
    d_in: usize,
    d_sae: usize,
    d_out: usize,
    architecture: Architecture,
    normalization: Normalization,
    apply_b_dec_to_input: bool,
    skip: bool,
    transcoder: bool,
}

/// The function from the encoder's input `x̃` to features.
///
/// `x̃` is the activation, normalised if the SAE normalises, minus `b_dec` if
/// [`SaeConfig::apply_b_dec_to_input`] is set. `p = x̃ · W_enc + b_enc` are the pre-activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Architecture {
    /// `relu(p)`. SAELens's `standard`, dictionary_learning's `AutoEncoder`, nanochat-SAE's `relu`.
    Relu,
    /// `p` where `p > θ` and `p > 0`, else 0: JumpReLU (Rajamanoharan et al. 2024,
    /// arXiv:2407.14435). At inference, batch-top-k (Bussmann et al. 2024, arXiv:2412.06410) and its
    /// matryoshka form are JumpReLU with one `θ` for all features.
    JumpRelu,
    /// `relu` of the `k` largest `p` in each row, others 0 (Gao et al. 2024, arXiv:2406.04093). Among
    /// equal values the one with the lower index is kept.
    TopK {
        /// Maximum number of features kept per row; `1..=d_sae`.
        k: usize,
        /// Multiply `p` by the norm of the feature's decoder row before the selection, and divide the
        /// feature by it before decoding. SAELens's `rescale_acts_by_decoder_norm`.
        rescale_acts_by_decoder_norm: bool,
    },
    /// The `k` entries of `p` with the largest magnitude in each row, with their sign, others 0. Among
    /// equal magnitudes the one with the lower index is kept. SAELens's `abstopk`.
    AbsTopK {
        /// Number of features kept per row; `1..=d_sae`.
        k: usize,
        /// As for [`TopK`](Self::TopK). SAELens trains with it by default.
        rescale_acts_by_decoder_norm: bool,
    },
    /// `relu` of the largest `p` in each of `k` groups of adjacent features of equal size, others 0.
    /// sparsify's `groupmax`.
    GroupMax {
        /// Number of groups; a divisor of `d_sae`.
        k: usize,
    },
    /// `relu(x̃ · (W_enc · exp(r_mag)) + b_mag)` where `x̃ · W_enc + b_enc > 0`, else 0: the gated
    /// SAE (Rajamanoharan et al. 2024, arXiv:2404.16014). `b_enc` is its `b_gate`.
    Gated,
    /// The `k` largest `p` in each row, others 0. Without a ReLU: if fewer than `k` pre-activations are
    /// positive, negative ones are kept too. nanochat-SAE's `topk`.
    SignedTopK {
        /// Number of features kept per row; `1..=d_sae`.
        k: usize,
    },
    /// `p` where `x̃ · W_gate + b_gate > 0`, else 0. The magnitude has no ReLU, so features can be
    /// negative. nanochat-SAE's `gated`, which is not [`Architecture::Gated`].
    SignedGated,
    /// Matching pursuit (Mallat & Zhang 1993; Costa et al. 2025, arXiv:2506.03093), SAELens's
    /// `matching_pursuit`. The residual `r` is `x̃` at first. Each iteration takes the feature with the
    /// largest `v = r · W_enc`, adds `v` to it and subtracts `v` times its row of `W_dec` from `r`. It
    /// ends where no `v` is positive. `b_enc` is not used; SAELens's `W_enc` is the transpose of
    /// `W_dec`.
    MatchingPursuit {
        /// A row ends when the norm of its residual is below this. At 0 or less it never does so.
        residual_threshold: f32,
        /// Maximum number of iterations; `1..=max(d_in, 65536)`. SAELens's default is `d_in`.
        max_iterations: usize,
        /// A row ends when it takes a feature for the second time, after that is added.
        stop_on_duplicate_support: bool,
    },
}

/// Normalisation of an activation `x` before encoding, undone after decoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normalization {
    /// No normalisation.
    None,
    /// `x · scale`; the reconstruction is divided by `scale`. SAELens's `expected_average_only_in`,
    /// where `scale` is `√d_in` over the mean norm of the training activations. It can be folded into
    /// the weights: [`Sae::fold_normalization`](crate::Sae::fold_normalization).
    ExpectedAverageOnlyIn {
        /// Finite and above 0.
        scale: f32,
    },
    /// `x · √d_in / ‖x‖`; the reconstruction is multiplied by `‖x‖ / √d_in`. SAELens's name. Rows of
    /// zeros stay zero.
    ConstantNormRescale,
    /// `(x − μ) / (σ + 1e-5)`; the reconstruction is multiplied by `σ`, and `μ` is added. `μ` and `σ`
    /// are the mean and the unbiased standard deviation of each row. SAELens's name; also used by
    /// OpenAI.
    LayerNorm,
}

/// The largest size accepted in a config: far above any SAE, and small enough that no product of two
/// sizes overflows.
const MAX_SIZE: usize = 1 << 28;

/// The largest number of iterations of matching pursuit, each of which costs as much as the encoder of
/// another SAE, unless `d_in` is larger.
const MAX_ITERATIONS: usize = 1 << 16;

impl Normalization {
    /// The scales of activations that can be undone: the inverse of each is as exact.
    pub const SCALES: RangeInclusive<f32> = f32::MIN_POSITIVE..=1.0 / f32::MIN_POSITIVE;
}

impl SaeConfig {
    /// Creates a configuration for activations of width `d_in` and `d_sae` features, without
    /// normalisation or skip connection, that encodes activations without subtracting `b_dec`.
    ///
    /// # Errors
    /// [`SaeError::Size`] if a size is zero or too large, or `k` is larger than `d_sae`;
    /// [`SaeError::Groups`] if the features cannot be divided into `k` groups of equal size;
    /// [`SaeError::ResidualThreshold`] if that of matching pursuit is not finite.
    pub fn new(d_in: usize, d_sae: usize, architecture: Architecture) -> Result<Self, SaeError> {
        check_size("d_in", d_in, MAX_SIZE)?;
        check_feature_count(d_sae)?;
        match architecture {
            Architecture::TopK { k, .. }
            | Architecture::AbsTopK { k, .. }
            | Architecture::SignedTopK { k } => {
                check_size("k", k, d_sae)?;
            }
            Architecture::MatchingPursuit { residual_threshold: found, max_iterations, .. } => {
                check_size("max_iterations", max_iterations, MAX_ITERATIONS.max(d_in))?;
                if !found.is_finite() {
                    return Err(SaeError::ResidualThreshold { found });
                }
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
            transcoder: false,
        })
    }

    /// Sets the width of the reconstruction. One of another width than `d_in` is a transcoder's.
    ///
    /// # Errors
    /// [`SaeError::Size`]; [`SaeError::BDecWidth`] if `b_dec`, whose width is `d_out`, is subtracted
    /// from the input; [`SaeError::PursuitWidth`] for matching pursuit, which subtracts decoder rows
    /// from it.
    pub fn with_d_out(self, d_out: usize) -> Result<Self, SaeError> {
        check_size("d_out", d_out, MAX_SIZE)?;
        Self { d_out, transcoder: self.transcoder || d_out != self.d_in, ..self }.checked()
    }

    /// Sets the normalisation.
    ///
    /// # Errors
    /// [`SaeError::Scale`] if its scale is not finite or not above 0; [`SaeError::LayerNormWidth`] for
    /// [`Normalization::LayerNorm`] of activations of width 1.
    pub fn with_normalization(self, normalization: Normalization) -> Result<Self, SaeError> {
        Self { normalization, ..self }.checked()
    }

    /// Sets whether `b_dec` is subtracted from the encoder's input.
    ///
    /// # Errors
    /// [`SaeError::BDecWidth`] if it is, and `d_out` differs from `d_in`.
    pub fn with_apply_b_dec_to_input(self, apply: bool) -> Result<Self, SaeError> {
        Self { apply_b_dec_to_input: apply, ..self }.checked()
    }

    /// Adds a skip connection: `x · W_skip` is added to the reconstruction.
    pub fn with_skip(self) -> Self {
        Self { skip: true, ..self }
    }

    /// Marks the SAE as a transcoder: it reconstructs another activation than it encodes, even if both
    /// have the same width.
    pub fn into_transcoder(self) -> Self {
        Self { transcoder: true, ..self }
    }

    /// Replaces the architecture by one that fits the same sizes.
    pub(crate) fn with_architecture(self, architecture: Architecture) -> Self {
        Self { architecture, ..self }
    }

    fn checked(self) -> Result<Self, SaeError> {
        if self.apply_b_dec_to_input && self.d_out != self.d_in {
            return Err(SaeError::BDecWidth { d_in: self.d_in, d_out: self.d_out });
        }
        if self.d_out != self.d_in
            && matches!(self.architecture, Architecture::MatchingPursuit { .. })
        {
            return Err(SaeError::PursuitWidth { d_in: self.d_in, d_out: self.d_out });
        }
        match self.normalization {
            Normalization::ExpectedAverageOnlyIn { scale }
                if !Normalization::SCALES.contains(&scale) =>
            {
                Err(SaeError::Scale { found: scale })
            }
            Normalization::LayerNorm if self.d_in == 1 => Err(SaeError::LayerNormWidth),
            _ => Ok(self),
        }
    }

    /// The width of the activations that are encoded.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// The number of features.
    pub fn d_sae(&self) -> usize {
        self.d_sae
    }

    /// The width of the activations that are decoded.
    pub fn d_out(&self) -> usize {
        self.d_out
    }

    /// The architecture.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The normalisation.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// Returns whether `b_dec` is subtracted from the (normalised) activation before encoding.
    pub fn apply_b_dec_to_input(&self) -> bool {
        self.apply_b_dec_to_input
    }

    /// Returns whether `x · W_skip` is added to the reconstruction.
    pub fn skip(&self) -> bool {
        self.skip
    }

    /// Returns whether it is a transcoder, which reconstructs another activation than it encodes.
    pub fn is_transcoder(&self) -> bool {
        self.transcoder
    }

    /// Checks that `feature` is below `d_sae`.
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`] if it is not.
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

fn check_size(field: &'static str, found: usize, max: usize) -> Result<(), SaeError> {
    if (1..=max).contains(&found) { Ok(()) } else { Err(SaeError::Size { field, found, max }) }
}

impl Architecture {
    /// A short name for display.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::JumpRelu => "jumprelu",
            Self::TopK { rescale_acts_by_decoder_norm: false, .. } => "top-k",
            Self::TopK { rescale_acts_by_decoder_norm: true, .. } => "rescaled top-k",
            Self::AbsTopK { rescale_acts_by_decoder_norm: false, .. } => "abs-top-k",
            Self::AbsTopK { rescale_acts_by_decoder_norm: true, .. } => "rescaled abs-top-k",
            Self::GroupMax { .. } => "groupmax",
            Self::Gated => "gated",
            Self::SignedTopK { .. } => "signed top-k",
            Self::SignedGated => "signed gated",
            Self::MatchingPursuit { .. } => "matching-pursuit",
        }
    }

    /// The number of features kept per row, if the architecture fixes one.
    pub fn k(self) -> Option<usize> {
        match self {
            Self::TopK { k, .. }
            | Self::AbsTopK { k, .. }
            | Self::GroupMax { k }
            | Self::SignedTopK { k } => Some(k),
            Self::Relu
            | Self::JumpRelu
            | Self::Gated
            | Self::SignedGated
            | Self::MatchingPursuit { .. } => None,
        }
    }

    /// Returns whether pre-activations are multiplied by the decoder's norms before the selection, and
    /// features divided by them before decoding.
    pub fn rescales_by_decoder_norm(self) -> bool {
        matches!(
            self,
            Self::TopK { rescale_acts_by_decoder_norm: true, .. }
                | Self::AbsTopK { rescale_acts_by_decoder_norm: true, .. }
        )
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
    fn impossible_sizes_are_errors() {
        let top_k = |k| SaeConfig::new(4, 8, Architecture::SignedTopK { k });

        assert!(top_k(8).is_ok());
        assert_eq!(top_k(9).unwrap_err().to_string(), "k is 9, it must be in 1..=8");
        assert_eq!(top_k(0).unwrap_err().to_string(), "k is 0, it must be in 1..=8");
        assert!(SaeConfig::new(0, 8, Architecture::Relu).is_err());
        assert!(SaeConfig::new(4, usize::MAX, Architecture::Relu).is_err());
        assert!(relu(4).with_d_out(0).is_err());
        assert_eq!(
            SaeConfig::new(4, 8, Architecture::GroupMax { k: 3 }).unwrap_err().to_string(),
            "8 features cannot be divided into 3 groups of equal size"
        );
        let pursuit = |residual_threshold, max_iterations| {
            let stop_on_duplicate_support = true;
            let architecture = Architecture::MatchingPursuit {
                residual_threshold,
                max_iterations,
                stop_on_duplicate_support,
            };
            SaeConfig::new(4, 8, architecture)
        };
        assert_eq!(
            pursuit(-1.0, 4).and_then(|config| config.with_d_out(6)).unwrap_err().to_string(),
            "matching pursuit cannot subtract decoder rows of 6 numbers from activations of 4"
        );
        assert_eq!(
            pursuit(0.1, 0).unwrap_err().to_string(),
            "max_iterations is 0, it must be in 1..=65536"
        );
        assert_eq!(
            pursuit(f32::NAN, 4).unwrap_err().to_string(),
            "residual_threshold is NaN, it must be finite"
        );
    }

    #[test]
    fn an_sae_of_two_widths_is_a_transcoder_and_one_of_the_same_width_if_it_is_said_to_be() {
        assert!(!relu(4).with_d_out(4).unwrap().is_transcoder());
        assert!(relu(4).with_d_out(6).unwrap().is_transcoder());
        assert!(relu(4).into_transcoder().with_d_out(4).unwrap().is_transcoder());
    }

    #[test]
    fn normalisations_and_biases_that_cannot_be_computed_are_errors() {
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
            "b_dec has 6 numbers and cannot be subtracted from activations of 4"
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
