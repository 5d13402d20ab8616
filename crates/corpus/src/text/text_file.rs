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
    /// File size in bytes (compressed size for `.gz` and `.zst`).
    pub bytes: u64,
    /// The format that the name says, if it says one.
    pub(crate) format: Option<TextFormat>,
    /// The compression that the name says.
    pub(crate) compression: Option<Compression>,
}

/// The format of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// Plain text, with `<|endoftext|>` between documents.
    Text,
    /// A JSON value per line.
    JsonLines,
    /// JSON: a list, an object with a list, or values one after another.
    Json,
    /// A table with a header, in which this byte separates columns.
    Csv { delimiter: u8 },
    /// A column of strings in a parquet file.
    Parquet,
}

/// The compression of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

/// Returns whether a file in a folder is one of its texts by its name, as
/// [`Corpus::open`](super::Corpus::open) decides.
///
/// ```
/// use nanoscope_corpus::is_text_name;
///
/// assert!(is_text_name("stories/1.jsonl.gz".as_ref()));
/// assert!(!is_text_name("README.md".as_ref()));
/// ```
pub fn is_text_name(path: &Path) -> bool {
    format_by_name(path).0.is_some()
}

/// The format and the compression that a file's name says.
pub(super) fn format_by_name(path: &Path) -> (Option<TextFormat>, Option<Compression>) {
    let extension =
        |path: &Path| path.extension().and_then(|name| name.to_str()).map(str::to_ascii_lowercase);
    let compression = match extension(path).as_deref() {
        Some("gz") => Some(Compression::Gzip),
        Some("zst") => Some(Compression::Zstd),
        _ => None,
    };
    let stem = match compression {
        Some(_) => Path::new(path.file_stem().unwrap_or_default()),
        None => path,
    };
    let format = match extension(stem).as_deref() {
        Some("txt" | "text") => Some(TextFormat::Text),
        Some("jsonl" | "ndjson") => Some(TextFormat::JsonLines),
        Some("json") => Some(TextFormat::Json),
        Some("csv") => Some(TextFormat::Csv { delimiter: b',' }),
        Some("tsv") => Some(TextFormat::Csv { delimiter: b'\t' }),
        Some("parquet") if compression.is_none() => Some(TextFormat::Parquet),
        _ => None,
    };
    (format, compression)
}
