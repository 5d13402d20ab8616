use nanoscope_corpus::CorpusError;

/// Why a training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The activations could not be had.
    #[error("could not get the activations to train on")]
    Corpus(#[from] CorpusError),
    /// A number of the recipe is out of its range.
    #[error("{name} is {found}, it must be {range}")]
    Recipe {
        /// Its name in the configuration.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        range: String,
    },
    /// Activations are not numbers, or all zero, or none.
    #[error("the activations to start from {0}")]
    Activations(&'static str),
    /// A batch has another size than the recipe says.
    #[error("a batch has {found} numbers, expected {expected}")]
    Batch {
        /// Rows times `d_in`.
        expected: usize,
        /// Numbers in the batch.
        found: usize,
    },
    /// The loss or the gradient is not a finite number.
    #[error(
        "at step {step} the loss is {loss} and the gradient's norm {grad_norm}: the training has diverged"
    )]
    Diverged {
        /// The step's number, from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The norm of the gradient.
        grad_norm: f64,
    },
    /// A snapshot is not one of a training by this recipe.
    #[error("the checkpoint's {tensor} is {found}, expected {expected}")]
    Snapshot {
        /// The tensor's name.
        tensor: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}
