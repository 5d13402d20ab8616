//! One file of a corpus, and how it holds its texts.

use std::path::{Path, PathBuf};

/// One file of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its name, from the folder on that was given; the same wherever that folder lies.
    pub name: String,
    /// Its size as it is, packed if it is packed.
    pub bytes: u64,
    pub(crate) form: Form,
}

/// How a file holds its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are, `<|endoftext|>` between them.
    Text { packed: bool },
    /// A JSON object per line.
    JsonLines { packed: bool },
    /// A column of strings.
    Parquet,
}

/// How a file of this name holds its texts, if the name says it.
pub(super) fn form(path: &Path) -> Option<Form> {
    let packed = has_extension(path, "gz");
    let stem = if packed { Path::new(path.file_stem()?) } else { path };
    match stem.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "txt" | "text" => Some(Form::Text { packed }),
        "jsonl" | "ndjson" => Some(Form::JsonLines { packed }),
        "parquet" if !packed => Some(Form::Parquet),
        _ => None,
    }
}

pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
