/// Errors in building an SAE, encoding with it or indexing its features.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SaeError {
    /// A size is zero or above the largest size accepted.
    #[error("{field} is {found}, it must be in 1..={max}")]
    Size {
        /// The config's key.
        field: &'static str,
        /// The value given.
        found: usize,
        /// The largest value accepted.
        max: usize,
    },
    /// The features cannot be divided into groups of equal size.
    #[error("{d_sae} features cannot be divided into {k} groups of equal size")]
    Groups {
        /// The number of groups.
        k: usize,
        /// The number of features.
        d_sae: usize,
    },
    /// The residual threshold of matching pursuit is NaN or infinite.
    #[error("residual_threshold is {found}, it must be finite")]
    ResidualThreshold {
        /// The threshold given.
        found: f32,
    },
    /// The scale of a normalisation cannot be undone.
    #[error("the activations' scale is {found}, it must be finite and above 0")]
    Scale {
        /// The scale given.
        found: f32,
    },
    /// Activations of width 1 have no standard deviation.
    #[error("layer_norm needs activations of at least two numbers")]
    LayerNormWidth,
    /// The decoder's bias has another width than the activation it is subtracted from.
    #[error("b_dec has {d_out} numbers and cannot be subtracted from activations of {d_in}")]
    BDecWidth {
        /// Width of the activations that are encoded.
        d_in: usize,
        /// Width of `b_dec`.
        d_out: usize,
    },
    /// Matching pursuit has decoder rows of another width than the activations.
    #[error(
        "matching pursuit cannot subtract decoder rows of {d_out} numbers from activations of {d_in}"
    )]
    PursuitWidth {
        /// Width of the activations that are encoded.
        d_in: usize,
        /// Width of the decoder's rows.
        d_out: usize,
    },
    /// A weight does not have the shape that the configuration requires.
    #[error("{tensor} has shape {found:?}, expected {expected:?}")]
    ShapeMismatch {
        /// The weight's name.
        tensor: &'static str,
        /// The shape that the configuration requires.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A weight is missing, or the architecture does not have it.
    #[error("a {architecture} SAE {} {weight}", if *.expected { "needs" } else { "has no" })]
    Weight {
        /// The architecture's name.
        architecture: &'static str,
        /// The weight.
        weight: &'static str,
        /// True if the weight is missing, false if it is superfluous.
        expected: bool,
    },
    /// Folding into the weights would change the features.
    #[error("{what} cannot be folded into the weights of a {architecture} SAE: {reason}")]
    Fold {
        /// The part to be folded.
        what: &'static str,
        /// The architecture's name.
        architecture: &'static str,
        /// The reason why it cannot be.
        reason: &'static str,
    },
    /// The index is not the index of a feature.
    #[error("feature {feature} is out of range, the SAE has {d_sae} (0 to {})", .d_sae - 1)]
    FeatureOutOfRange {
        /// The index given.
        feature: usize,
        /// The number of features.
        d_sae: usize,
    },
    /// A pre-activation is NaN or infinite.
    #[error(
        "the pre-activation of feature {feature} in row {row} is {found}: the activations or the weights are not finite, or too large for float32"
    )]
    NotFinite {
        /// The first row with one.
        row: usize,
        /// The first feature of the row.
        feature: usize,
        /// The pre-activation.
        found: f32,
    },
}
