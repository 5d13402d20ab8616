use nanoscope_corpus::CorpusError;
use nanoscope_hooks::HookError;
use nanoscope_runtime::RuntimeError;
use nanoscope_sae::SaeError;
use nanoscope_transformer::GptError;

/// Errors from evaluating an SAE.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// An SAE does not fit the model.
    #[error("{name} does not fit the model")]
    Target {
        /// The SAE's name.
        name: String,
        /// The mismatch.
        source: Box<RuntimeError>,
    },
    /// A context could not be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A context could not be run.
    #[error("context {index} could not be run")]
    Model {
        /// The number of the batch's first context in the corpus.
        index: u64,
        /// The model's error.
        source: GptError,
    },
    /// The pass did not reach a hook point.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The batch size is zero.
    #[error("batches must have at least one context")]
    EmptyBatch,
    /// An SAE could not encode the model's activations.
    #[error("the activations of {name} cannot be encoded")]
    Encode {
        /// The SAE's name.
        name: String,
        /// The reason.
        source: SaeError,
    },
    /// No token contributes to the metrics.
    #[error(
        "none of the {tokens} tokens is counted and has a next token in its context: use more text or \
         longer contexts, or count special tokens too"
    )]
    NothingCounts {
        /// Number of tokens run.
        tokens: u64,
    },
    /// The unmodified model's loss is not finite.
    #[error("the unmodified model's loss on the text is {found}; it must be finite")]
    NotFinite {
        /// The loss.
        found: f64,
    },
    /// A plot could not be drawn.
    #[error("could not draw the plot: {reason}")]
    Plot {
        /// The reason.
        reason: String,
    },
}
