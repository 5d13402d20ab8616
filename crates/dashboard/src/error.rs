use std::io;
use std::path::{Path, PathBuf};

use nanoscope_corpus::CorpusError;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::RuntimeError;
use nanoscope_sae::SaeError;
use nanoscope_transformer::GptError;

/// Errors from building, writing and reading dashboards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DashboardError {
    /// A file or folder cannot be read or written.
    #[error("{}", nanoscope_checkpoint::IoProblem { path, source })]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The output folder exists and is not an output of the same kind.
    #[error("cannot replace {}: {reason}; choose another folder or move that one away", path.display())]
    NotReplaceable {
        /// The folder.
        path: PathBuf,
        /// The reason for which it is not replaced.
        reason: String,
    },
    /// Neither could the new folder be moved into place, nor the old one back.
    #[error("could not write {}; its previous content is now in {}", path.display(), kept.display())]
    NotRestored {
        /// The output folder.
        path: PathBuf,
        /// The folder that holds the previous content.
        kept: PathBuf,
        /// The operating system's error for the new folder.
        source: io::Error,
    },
    /// The range of features is empty or exceeds the SAE.
    #[error("features {from}..{to} are not a range of the SAE's features, 0..{d_sae}")]
    FeatureRange {
        /// The first feature.
        from: u32,
        /// The end of the range, exclusive.
        to: u32,
        /// The number of features of the SAE.
        d_sae: usize,
    },
    /// The text has no token that counts.
    #[error("the text has no tokens that count")]
    NoTokens,
    /// The progress callback stopped the build.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// A name cannot be the name of a folder of the export.
    #[error(
        "`{name}` is not a folder name; expected letters, digits, `.`, `-` and `_`, not starting with `.`"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// A script is not in the format of [`pack`](crate::pack).
    #[error("invalid data script: {reason}")]
    InvalidScript {
        /// The defect.
        reason: String,
    },
    /// A file does not have the format of a dashboard.
    #[error("{} is not part of a valid dashboard: {reason}", path.display())]
    InvalidDashboard {
        /// The file.
        path: PathBuf,
        /// The defect.
        reason: String,
    },
    /// A dashboard was made for a different SAE than the model's.
    #[error(
        "{} was made for a different SAE than the one at {hook}: its fingerprint is {found:016x}, the SAE's {expected:016x}",
        path.display()
    )]
    SaeMismatch {
        /// The folder of the dashboard.
        path: PathBuf,
        /// The hook point of the dashboard.
        hook: HookPoint,
        /// The fingerprint of the model's SAE.
        expected: u64,
        /// The fingerprint in the dashboard.
        found: u64,
    },
    /// The text could not be read.
    #[error(transparent)]
    Corpus(Box<CorpusError>),
    /// The model could not be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model does not accept a context.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// A feature is not in the SAE.
    #[error(transparent)]
    Sae(#[from] SaeError),
}

impl DashboardError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl From<CorpusError> for DashboardError {
    fn from(error: CorpusError) -> Self {
        Self::Corpus(Box::new(error))
    }
}
