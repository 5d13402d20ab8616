/// Why weights and a configuration make no sparse autoencoder, or a feature is none of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// The architecture needs gate weights and there are none, or the other way round.
    #[error("architecture {architecture} {} gate weights", if *.expected { "needs" } else { "has no" })]
    Gate {
        /// The architecture's name.
        architecture: &'static str,
        /// Whether it needs them.
        expected: bool,
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
