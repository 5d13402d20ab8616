use std::path::PathBuf;

use nanoscope_checkpoint::CheckpointError;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::RuntimeError;

/// Errors from making, reading and writing a feature index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The file cannot be read.
    #[error("could not read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not a feature index.
    #[error("{} is not a feature index: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file belongs to another SAE.
    #[error("{} is the index of another SAE: {reason}", .path.display())]
    OtherSae {
        /// The file.
        path: PathBuf,
        /// The difference.
        reason: String,
    },
    /// The model ends every text at once, or there are no prompts.
    #[error("nothing was generated, so no strength of steering could be measured at {hook}")]
    Unmeasured {
        /// The hook point of the SAE.
        hook: HookPoint,
    },
    /// The caller ended the work.
    #[error("interrupted")]
    Interrupted,
    /// The file cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model cannot be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}
