//! One file of a corpus, and how it holds its texts.

use std::path::{Path, PathBuf};

/// One file of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name, from the folder on that was given; the same wherever that folder lies.
    pub name: String,
    /// Its size as it is, packed if it is packed.
    pub bytes: u64,
    pub(crate) format: TextFormat,
}

/// How a file holds its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// As they are, `<|endoftext|>` between them.
    Text { gzip: bool },
    /// A JSON object per line.
    JsonLines { gzip: bool },
    /// A column of strings.
    Parquet,
}

/// How a file of this name holds its texts, if the name says it.
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
