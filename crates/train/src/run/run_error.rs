use std::io;
use std::path::PathBuf;

use nanoscope_checkpoint::CheckpointError;
use nanoscope_corpus::CorpusError;
use nanoscope_hooks::HookPoint;

use super::config_error::ConfigError;
use crate::TrainError;

/// Errors from starting, resuming or finishing a training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An I/O operation failed.
    #[error("{}", nanoscope_checkpoint::IoProblem { path, source })]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder for a new run is not empty.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// True if it contains a run.
        is_run: bool,
    },
    /// The folder to resume from does not contain a run.
    #[error("{} is not the folder of a run: it has no config.toml", dir.display())]
    NoRun {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process is training in the folder.
    #[error("another process{} is training in {}", pid.as_ref().map(|pid| format!(" ({pid})")).unwrap_or_default(), dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process id, if it could be read.
        pid: Option<String>,
    },
    /// A checkpoint is damaged.
    #[error("the checkpoint {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The evidence of damage.
        reason: String,
    },
    /// A file of a run is damaged.
    #[error("{} is damaged: {reason}", path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// The evidence of damage.
        reason: String,
    },
    /// A run did not record which text it held out.
    #[error("the run in {} has no held-out text: its activations are not known by their text", dir.display())]
    NoHeldOutText {
        /// The run's folder.
        dir: PathBuf,
    },
    /// No checkpoint is intact.
    #[error("no checkpoint in {} is intact; the last was rejected", dir.display())]
    NoWholeCheckpoint {
        /// The folder of checkpoints.
        dir: PathBuf,
        /// The reason the last one was rejected.
        source: Box<RunError>,
    },
    /// The source differs from the one the run started with.
    #[error("the source has changed since the run started: it had {was}, now {is}")]
    OtherSource {
        /// The source at the start.
        was: String,
        /// The source now.
        is: String,
    },
    /// The source lacks a hook point.
    #[error("the source has no {hook}; it has {}", has.join(", "))]
    NoSuchHook {
        /// The hook point.
        hook: HookPoint,
        /// The hook points it has.
        has: Vec<String>,
    },
    /// No segments are left to train on.
    #[error("the source has {segments} segment{}; holding out {held_out} leaves none to train on",
            if *segments == 1 { "" } else { "s" })]
    NothingLeft {
        /// Segments of the source.
        segments: u64,
        /// Segments to hold out.
        held_out: u64,
    },
    /// Training an SAE failed.
    #[error("training at {hook} stopped at step {step}")]
    Train {
        /// The hook point.
        hook: HookPoint,
        /// The step that failed.
        step: u64,
        /// The reason.
        source: Box<TrainError>,
    },
    /// A batch could not be assembled.
    #[error(transparent)]
    Batch(TrainError),
    /// An SAE has no finite loss on the held-out activations.
    #[error("the SAE at {hook} cannot be evaluated on the {rows} held-out activations: {reason}")]
    Validation {
        /// The hook point.
        hook: HookPoint,
        /// Number of held-out activations.
        rows: u64,
        /// The reason.
        reason: String,
    },
    /// Held-out activations could not be read or computed.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A file of tensors could not be read or written.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The curves could not be drawn.
    #[error("could not draw {}: {reason}", path.display())]
    Curves {
        /// The file.
        path: PathBuf,
        /// The drawing library's error.
        reason: String,
    },
}

impl RunError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
