use std::path::PathBuf;

use nanoscope_checkpoint::{CheckpointError, WeightProcessingError};
use nanoscope_device::DeviceError;
use nanoscope_hooks::{HookError, HookPoint};
use nanoscope_runtime::{RuntimeError, SyntaxError};
use nanoscope_sae::SaeError;
use nanoscope_tokenizer::TokenizerError;
use nanoscope_transformer::GptError;

/// Errors from opening and using a [`Microscope`](crate::Microscope).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// A plan, a prompt or a sampling parameter does not suit the model.
    #[error(transparent)]
    Runtime(Box<RuntimeError>),
    /// A name is not a device of this build.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A name is not a hook point.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A text is not an intervention or a condition.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// Token ids do not form a batch.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// A feature or a configuration does not suit an SAE.
    #[error(transparent)]
    Sae(#[from] SaeError),
    /// Text could not be encoded, or token ids decoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A text was given, and the model has no tokenizer.
    #[error("the model has no tokenizer")]
    NoTokenizer,
    /// A tokenizer has another vocabulary than the model.
    #[error("the tokenizer in {} does not fit the model", path.display())]
    TokenizerMismatch {
        /// The tokenizer's folder.
        path: PathBuf,
        /// The difference.
        source: Box<RuntimeError>,
    },
    /// An SAE does not fit the model.
    #[error("{} does not fit the model", path.display())]
    SaeMismatch {
        /// The SAE's file.
        path: PathBuf,
        /// The difference.
        source: Box<RuntimeError>,
    },
    /// An SAE was trained on weights that were processed in a way that changes its activation, or the
    /// model cannot have the stream that it was trained on.
    #[error("{} does not fit the model: {reason}", path.display())]
    SaeProcessing {
        /// The SAE's file.
        path: PathBuf,
        /// The reason.
        reason: ProcessingError,
    },
    /// A steering vector is loaded that no intervention uses.
    #[error("no intervention uses the vector `{name}`")]
    UnusedVector {
        /// The vector's name.
        name: String,
    },
    /// A control vector has one direction per layer, and one name is used in several layers.
    #[error("the control vector `{name}` is used in several layers")]
    VectorInSeveralLayers {
        /// The vector's name.
        name: String,
    },
}

/// The reasons for which an SAE's activation cannot be had from a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessingError {
    /// A step of the weights' processing changes the activation, or is not known.
    #[error(transparent)]
    Weights(#[from] WeightProcessingError),
    /// The residual stream of the model cannot be centred.
    #[error("it was trained with `center_writing_weights: true`, and {0}")]
    Centre(GptError),
    /// The model was given a centred stream, and the SAE was trained on the stream as it is.
    #[error("it was trained on the residual stream as it is, and that of the model is centred")]
    Uncentred,
    /// Another SAE needs the stream as it is, or centred.
    #[error(
        "it was trained on the residual stream {}, and the SAE at {other} on the stream {}",
        stream(*centred), stream(!*centred)
    )]
    TwoStreams {
        /// True if this SAE was trained on the centred stream.
        centred: bool,
        /// The hook point of the other SAE.
        other: HookPoint,
    },
}

fn stream(centred: bool) -> &'static str {
    if centred { "less its mean (`center_writing_weights`)" } else { "as it is" }
}

/// The result of opening or using a [`Microscope`](crate::Microscope).
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(Box::new(error))
    }
}
