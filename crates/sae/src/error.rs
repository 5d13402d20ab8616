/// Why weights and a configuration make no sparse autoencoder, or a feature is none of its own.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SaeError {
    /// A size is zero or larger than any SAE that this code could hold.
    #[error("{field} is {found}, it must be in 1..={most}")]
    Size {
        /// The config's key.
        field: &'static str,
        /// The value given.
        found: usize,
        /// The largest value taken.
        most: usize,
    },
    /// Features cannot be divided into that many groups.
    #[error("{d_sae} features do not make {k} groups of the same size")]
    Groups {
        /// The groups.
        k: usize,
        /// The features.
        d_sae: usize,
    },
    /// Activations cannot be multiplied by this and divided again.
    #[error("the activations' scale is {found}, it must be finite and above 0")]
    Scale {
        /// The scale given.
        found: f32,
    },
    /// One number has no standard deviation.
    #[error("layer_norm needs activations of at least two numbers")]
    DeviationOfOne,
    /// The decoder's bias belongs to another activation than the one that is read.
    #[error("b_dec has {d_out} numbers, it cannot be taken off activations of {d_in}")]
    BDecOfAnotherWidth {
        /// Numbers of what is read.
        d_in: usize,
        /// Numbers of what is written.
        d_out: usize,
    },
    /// A weight does not have the shape that the configuration asks for.
    #[error("{tensor} has shape {found:?}, expected {expected:?}")]
    ShapeMismatch {
        /// The weight's name.
        tensor: &'static str,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// The configuration needs a weight that is not there, or the other way round.
    #[error("a {architecture} SAE {} {weight}", if *.expected { "needs" } else { "has no" })]
    Weight {
        /// The architecture's name.
        architecture: &'static str,
        /// The weight.
        weight: &'static str,
        /// Whether it needs it.
        expected: bool,
    },
    /// Something cannot be moved into the weights without other features.
    #[error("{what} cannot be folded into the weights of a {architecture} SAE: {reason}")]
    Fold {
        /// What was to be folded.
        what: &'static str,
        /// The architecture's name.
        architecture: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// No feature has this index.
    #[error("feature {feature} is out of range, the SAE has {d_sae} (0 to {})", .d_sae - 1)]
    FeatureOutOfRange {
        /// The index given.
        feature: usize,
        /// How many features there are.
        d_sae: usize,
    },
}
