use nanoscope_corpus::CorpusError;

/// Why a training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The activations could not be had.
    #[error("could not get the activations to train on")]
    Corpus(#[from] CorpusError),
}
