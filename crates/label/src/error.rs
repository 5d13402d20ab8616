use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nanoscope_checkpoint::CheckpointError;
use nanoscope_corpus::CorpusError;
use nanoscope_runtime::RuntimeError;
use nanoscope_transformer::GptError;

/// Errors from labelling features.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The address is not one that requests can be sent to.
    #[error("`{url}` is not the address of an endpoint: {reason}")]
    Url {
        /// The address, without a password.
        url: String,
        /// The defect.
        reason: &'static str,
    },
    /// The key cannot be sent in a header.
    #[error("the API key has a character that HTTP does not allow in a header")]
    Key,
    /// No connection, or one that broke.
    #[error("could not reach {url}")]
    Unreachable {
        /// The address of the request.
        url: String,
        /// The client's error.
        source: Box<ureq::Error>,
    },
    /// The endpoint refused a request.
    #[error("{url} answered {status}{}", with_message(message))]
    Refused {
        /// The address of the request.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The message in the answer; may be empty.
        message: String,
    },
    /// The endpoint asks to wait longer than a run waits.
    #[error("{url} answered {status} and asks to wait {} seconds", wait.as_secs())]
    WaitTooLong {
        /// The address of the request.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The time to wait.
        wait: Duration,
    },
    /// The answer is too large.
    #[error("{url} sent an answer of more than {max} bytes")]
    TooLarge {
        /// The address of the request.
        url: String,
        /// The maximum size.
        max: u64,
    },
    /// The answer is not that of a chat endpoint.
    #[error("{url} did not answer as a chat endpoint does: {reason}")]
    NotChat {
        /// The address of the request.
        url: String,
        /// The defect.
        reason: String,
    },
    /// Many answers in a row had nothing to use.
    #[error("{count} answers in a row had no explanation; the last one: {last:?}")]
    NoExplanations {
        /// The number of answers.
        count: usize,
        /// The beginning of the last answer.
        last: String,
    },
    /// The file has explanations of another SAE.
    #[error("{} has explanations of another SAE, at {found}", path.display())]
    OtherSae {
        /// The file.
        path: PathBuf,
        /// The hook point of the other SAE.
        found: String,
    },
    /// The file is not one of explanations.
    #[error("{}, line {line}: not an explanation: {reason}", path.display())]
    NotExplanations {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The defect.
        reason: String,
    },
    /// Another run writes the file.
    #[error("another run writes {}", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{}", nanoscope_checkpoint::IoProblem { path, source })]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A signal, or an error of another feature, ended the work.
    #[error("interrupted")]
    Interrupted,
    /// The labels that are there could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The text could not be read.
    #[error(transparent)]
    Corpus(Box<CorpusError>),
    /// The model could not be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model does not accept a context.
    #[error(transparent)]
    Gpt(#[from] GptError),
}

impl LabelError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl From<CorpusError> for LabelError {
    fn from(error: CorpusError) -> Self {
        Self::Corpus(Box::new(error))
    }
}

fn with_message(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
