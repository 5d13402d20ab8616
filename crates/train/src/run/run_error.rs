use std::io;
use std::path::PathBuf;

use nanoscope_checkpoint::CheckpointError;
use nanoscope_corpus::CorpusError;
use nanoscope_hooks::HookPoint;

use super::config_error::ConfigError;
use crate::TrainError;

/// Why a run could not begin, go on, or leave behind what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The operating system refuses.
    #[error("could not read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The configuration means nothing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A new run in a folder that has something in it.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// Whether what is there is a run.
        is_run: bool,
    },
    /// A folder to go on in that is none of a run.
    #[error("{} is no folder of a run: it has no config.toml", dir.display())]
    NoRun {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process writes to the folder.
    #[error("another process{} is training in {}", pid.as_ref().map(|pid| format!(" ({pid})")).unwrap_or_default(), dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// That process' number, if it could be read.
        pid: Option<String>,
    },
    /// A checkpoint is not as it was written.
    #[error("the checkpoint {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that is known.
        reason: String,
    },
    /// No checkpoint is whole.
    #[error("no checkpoint in {} is whole; the last was refused", dir.display())]
    NoWholeCheckpoint {
        /// The folder of checkpoints.
        dir: PathBuf,
        /// Why the last one was refused.
        source: Box<RunError>,
    },
    /// The source is not the one that the run began with.
    #[error("the source is another than the run began with: {was} then, {is} now")]
    OtherSource {
        /// What it was.
        was: String,
        /// What it is.
        is: String,
    },
    /// A hook point that the source does not have.
    #[error("the source has no {hook}; it has {}", has.join(", "))]
    NoSuchHook {
        /// The hook point.
        hook: HookPoint,
        /// Those that it has.
        has: Vec<String>,
    },
    /// Nothing is left to train on.
    #[error("the source has {segments} segments, and {held_out} of them are held out")]
    NothingLeft {
        /// Segments of the source.
        segments: u64,
        /// Those to be held out.
        held_out: u64,
    },
    /// A training could not begin or go on.
    #[error("training at {hook} stopped in step {step}")]
    Train {
        /// The hook point.
        hook: HookPoint,
        /// The step that was not done.
        step: u64,
        /// Why.
        source: Box<TrainError>,
    },
    /// Batches could not be had.
    #[error(transparent)]
    Batch(TrainError),
    /// An SAE has no loss on what is held out.
    #[error(
        "the SAE at {hook} cannot be evaluated on the {rows} activations that are held out: {reason}"
    )]
    Validation {
        /// The hook point.
        hook: HookPoint,
        /// Activations that are held out.
        rows: u64,
        /// Why not.
        reason: String,
    },
    /// What is held out could not be read or computed.
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
        /// What the drawing library says.
        reason: String,
    },
}

impl RunError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
