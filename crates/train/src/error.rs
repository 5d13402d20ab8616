use nanoscope_corpus::CorpusError;

/// Errors from training an SAE.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The activations could not be read or computed.
    #[error("could not read the training activations")]
    Corpus(#[from] CorpusError),
    /// A value in the recipe is out of range.
    #[error("{name} is {found}; it must be {range}")]
    Recipe {
        /// The value's name in the configuration.
        name: &'static str,
        /// The value.
        found: String,
        /// The permitted range.
        range: String,
    },
    /// The initial activations are missing, not finite, all zero, or impossible to scale.
    #[error("{0}")]
    Activations(&'static str),
    /// A batch does not have the recipe's size.
    #[error("a batch has {found} values, expected {expected}")]
    Batch {
        /// Rows times `d_in`.
        expected: usize,
        /// Values in the batch.
        found: usize,
    },
    /// The loss or the gradient is not finite.
    #[error(
        "training diverged at step {step}: the loss is {loss} and the gradient norm {grad_norm}"
    )]
    Diverged {
        /// The step's number, from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The norm of the gradient.
        grad_norm: f64,
    },
    /// A snapshot does not match the recipe.
    #[error("the checkpoint's {tensor} is {found}, expected {expected}")]
    Snapshot {
        /// The tensor's name.
        tensor: String,
        /// The expected value.
        expected: String,
        /// The value found.
        found: String,
    },
}
