use std::io;
use std::path::PathBuf;

/// Why a corpus could not be read, or its activations not be made or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The operating system refuses.
    #[error("could not read or write {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}
