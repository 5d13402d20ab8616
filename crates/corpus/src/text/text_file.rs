//! A file of a corpus and its format.

use std::path::{Path, PathBuf};

/// A text file of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Path relative to the given folder, or the file's own name. It does not depend on where the
    /// folder is.
    pub name: String,
    /// File size in bytes (compressed size for `.gz`).
    pub bytes: u64,
    pub(crate) format: TextFormat,
}

/// The format of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// Plain text, with `<|endoftext|>` between documents.
    Text { gzip: bool },
    /// A JSON object per line.
    JsonLines { gzip: bool },
    /// A column of strings in a parquet file.
    Parquet,
}

/// Guesses the format of a file from its extension.
pub(super) fn format_by_name(path: &Path) -> Option<TextFormat> {
    let gzip = has_extension(path, "gz");
    let stem = if gzip { Path::new(path.file_stem()?) } else { path };
    match stem.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "txt" | "text" => Some(TextFormat::Text { gzip }),
        "jsonl" | "ndjson" => Some(TextFormat::JsonLines { gzip }),
        "parquet" if !gzip => Some(TextFormat::Parquet),
        _ => None,
    }
}

pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
