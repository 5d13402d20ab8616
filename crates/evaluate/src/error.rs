use nanoscope_corpus::CorpusError;
use nanoscope_hooks::HookError;
use nanoscope_runtime::RuntimeError;
use nanoscope_transformer::GptError;

/// Why an SAE could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// An SAE has no place in the model.
    #[error("{name} does not fit the model")]
    Target {
        /// The SAE's name.
        name: String,
        /// What does not fit.
        source: Box<RuntimeError>,
    },
    /// A context could not be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A context could not be run.
    #[error("context {index} could not be run")]
    Model {
        /// The first context of the batch, by its number in the corpus.
        index: u64,
        /// What the model says.
        source: GptError,
    },
    /// The pass did not come by a hook point.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A batch of no contexts was asked for.
    #[error("batches must have at least one context")]
    EmptyBatch,
    /// There is nothing to take a mean of.
    #[error(
        "of {tokens} tokens none counts that has a next token in its context: give more text, \
         longer contexts, or count special tokens too"
    )]
    NothingCounts {
        /// Tokens that were run.
        tokens: u64,
    },
    /// The model itself computes no number.
    #[error("the model's own cross entropy on the text is {found}, it must be finite")]
    NotFinite {
        /// What it is.
        found: f64,
    },
    /// A plot could not be drawn.
    #[error("no plot could be drawn: {reason}")]
    Plot {
        /// Why not.
        reason: String,
    },
}
