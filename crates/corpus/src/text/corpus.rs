//! The files of a corpus, and their documents.

use std::fs;
use std::path::{Path, PathBuf};

use super::documents::Documents;
use super::text_file::{TextFile, TextFormat, format_by_name, has_extension};
use crate::CorpusError;

/// Text files in a fixed order.
///
/// ```
/// use nanoscope_corpus::{Corpus, CorpusOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("a.txt"), "One.\n<|endoftext|>\nTwo.\n")?;
/// std::fs::write(dir.path().join("b.jsonl"), "{\"text\": \"Three.\"}\n")?;
///
/// let corpus = Corpus::open(&[dir.path().to_owned()], &CorpusOptions::default())?;
/// let texts: Result<Vec<_>, _> = corpus.documents().map(|d| d.map(|d| d.text)).collect();
/// assert_eq!(texts?, ["One.", "Two.", "Three."]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Corpus {
    files: Vec<TextFile>,
    text_column: String,
}

/// Options for reading the files of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusOptions {
    /// The field of JSONL lines, or column of parquet files, that contains the text. Default:
    /// `text`.
    pub text_column: String,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { text_column: "text".to_owned() }
    }
}

impl Corpus {
    /// Opens the corpus of `paths`, which may be files or folders.
    ///
    /// A folder is searched recursively for files that are named as texts: `.txt`, `.text`,
    /// `.jsonl` and `.ndjson`, each also with `.gz`, and `.parquet`. They are sorted by name; links
    /// to folders are not followed. A file given by its own path is taken whatever its name, and
    /// read as plain text unless its extension says otherwise.
    ///
    /// # Errors
    /// [`CorpusError::Io`], [`CorpusError::NoFile`]; [`CorpusError::NoTexts`] for a folder without
    /// text files.
    pub fn open(paths: &[PathBuf], options: &CorpusOptions) -> Result<Self, CorpusError> {
        let mut files = Vec::new();
        for path in paths {
            let metadata = fs::metadata(path).map_err(|source| CorpusError::io(path, source))?;
            if metadata.is_dir() {
                let before = files.len();
                add_folder(path, path, 0, &mut files)?;
                if files.len() == before {
                    return Err(CorpusError::NoTexts { path: path.clone() });
                }
            } else if metadata.is_file() {
                let name = path.file_name().unwrap_or(path.as_os_str());
                files.push(TextFile {
                    path: path.clone(),
                    name: name.to_string_lossy().into_owned(),
                    bytes: metadata.len(),
                    format: format_by_name(path)
                        .unwrap_or(TextFormat::Text { gzip: has_extension(path, "gz") }),
                });
            } else {
                return Err(CorpusError::NoFile { path: path.clone() });
            }
        }
        Ok(Self { files, text_column: options.text_column.clone() })
    }

    /// The files, in reading order.
    pub fn files(&self) -> &[TextFile] {
        &self.files
    }

    /// Total size of the files in bytes (compressed size for `.gz`).
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|source| source.bytes).sum()
    }

    /// Iterates over the documents, from the first.
    pub fn documents(&self) -> Documents<'_> {
        Documents::new(&self.files, &self.text_column)
    }
}

/// Maximum depth of nested folders.
const MAX_DEPTH: usize = 64;

fn add_folder(
    root: &Path,
    dir: &Path,
    depth: usize,
    files: &mut Vec<TextFile>,
) -> Result<(), CorpusError> {
    let io = |source| CorpusError::io(dir, source);
    let mut entries = fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // The type of the entry itself: following a link to a parent folder would never end.
        if entry.file_type().map_err(io)?.is_dir() {
            if depth < MAX_DEPTH {
                add_folder(root, &path, depth + 1, files)?;
            }
            continue;
        }
        let Some(format) = format_by_name(&path) else { continue };
        let metadata = fs::metadata(&path).map_err(|source| CorpusError::io(&path, source))?;
        if metadata.is_file() {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(TextFile { name, bytes: metadata.len(), format, path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_texts_by_name_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["c.TXT", "README.md", "a.jsonl.gz", "b/2.parquet", "b/1.txt", "d.parquet.gz"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }

        let corpus = Corpus::open(&[dir.path().to_owned()], &CorpusOptions::default()).unwrap();

        let names: Vec<&str> = corpus.files().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a.jsonl.gz", "b/1.txt", "b/2.parquet", "c.TXT"]);
        assert_eq!(corpus.bytes(), 4);
    }

    #[test]
    fn a_file_that_is_named_is_text_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("README.md");
        std::fs::write(&path, "x").unwrap();

        let corpus = Corpus::open(&[path], &CorpusOptions::default()).unwrap();

        assert_eq!(corpus.files()[0].format, TextFormat::Text { gzip: false });
    }
}
