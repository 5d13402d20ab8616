use std::io;
use std::path::{Path, PathBuf};

use nanoscope_corpus::CorpusError;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::RuntimeError;
use nanoscope_sae::SaeError;
use nanoscope_transformer::GptError;

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DashboardError {
    /// The operating system refuses.
    #[error("could not read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// What stands where the dashboard is to go is something else.
    #[error(
        "{} is no dashboard of ours: it holds {found}; give another folder, or move that away",
        path.display()
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// What there is that no dashboard has.
        found: String,
    },
    /// The new pages could not be put in their place, nor the old ones back into it.
    #[error("could not write {}; what was there is now in {}", path.display(), kept.display())]
    NotPutBack {
        /// The place.
        path: PathBuf,
        /// Where what was there is.
        kept: PathBuf,
        /// What the operating system says of the new ones.
        source: io::Error,
    },
    /// The features that were asked for are not there.
    #[error("features {from}..{to} were asked for, the SAE has {d_sae}: 0..{d_sae}")]
    NoFeatures {
        /// The first.
        from: u32,
        /// The one behind the last.
        to: u32,
        /// Features of the SAE.
        d_sae: usize,
    },
    /// The text has no token that counts.
    #[error("the text has no token that counts, so there is nothing to show")]
    NoTokens,
    /// Whoever was told of the progress does not want to go on.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// A name that is to become a folder of the export cannot be one.
    #[error("`{name}` is no name for a folder: letters, digits, `.`, `-` and `_` can stand in it")]
    Name {
        /// The name.
        name: String,
    },
    /// A file of a dashboard is not as we write it.
    #[error("what should be packed data is not: {reason}")]
    NotPacked {
        /// What is wrong with it.
        reason: String,
    },
    /// A folder that should be a dashboard cannot be read as one.
    #[error("{} is no dashboard that can be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A dashboard is of an SAE that the model does not have.
    #[error(
        "{} is of another SAE than the one at {hook}: its fingerprint is {found:016x}, the SAE's {expected:016x}",
        path.display()
    )]
    OtherSae {
        /// The folder.
        path: PathBuf,
        /// Where the dashboard's SAE is.
        hook: HookPoint,
        /// The fingerprint of the model's SAE there.
        expected: u64,
        /// That of the dashboard's.
        found: u64,
    },
    /// The text could not be had.
    #[error(transparent)]
    Corpus(Box<CorpusError>),
    /// The model could not be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A context is none that the model takes.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// The SAE has no such feature.
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
