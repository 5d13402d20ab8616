//! The files of a corpus, and their documents.

use std::fs;
use std::path::{Path, PathBuf};

use super::documents::Documents;
use super::options::CorpusOptions;
use super::recognise::is_one_object;
use super::text_file::{TextFile, TextFormat, format_by_name};
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
    left_out: Vec<PathBuf>,
    options: CorpusOptions,
}

impl Corpus {
    /// Opens the corpus of `paths`, which may be files or folders.
    ///
    /// A folder is searched recursively for files that are named as texts: `.txt`, `.text`,
    /// `.jsonl`, `.ndjson`, `.json`, `.csv` and `.tsv`, each also with `.gz` or `.zst`, and
    /// `.parquet`. They are sorted by name; links to folders are not followed. A `.json` file that
    /// holds one object, as metadata does, is [left out](Self::left_out). A file given by its own
    /// path is taken whatever its name, and read as plain text unless its extension or its content
    /// says otherwise.
    ///
    /// # Errors
    /// [`CorpusError::Io`], [`CorpusError::NoFile`]; [`CorpusError::NoTexts`] for a folder without
    /// text files.
    pub fn open(paths: &[PathBuf], options: &CorpusOptions) -> Result<Self, CorpusError> {
        let mut files = Vec::new();
        let mut left_out = Vec::new();
        for path in paths {
            let metadata = fs::metadata(path).map_err(|source| CorpusError::io(path, source))?;
            if metadata.is_dir() {
                let before = files.len();
                add_folder(path, path, 0, &mut files)?;
                for file in files.split_off(before) {
                    if file.format == Some(TextFormat::Json) && is_one_object(&file) {
                        left_out.push(file.path);
                    } else {
                        files.push(file);
                    }
                }
                if files.len() == before {
                    return Err(CorpusError::NoTexts { path: path.clone() });
                }
            } else if metadata.is_file() {
                let name = path.file_name().unwrap_or(path.as_os_str());
                let (format, compression) = format_by_name(path);
                files.push(TextFile {
                    path: path.clone(),
                    name: name.to_string_lossy().into_owned(),
                    bytes: metadata.len(),
                    format,
                    compression,
                });
            } else {
                return Err(CorpusError::NoFile { path: path.clone() });
            }
        }
        Ok(Self { files, left_out, options: options.clone() })
    }

    /// The files, in reading order.
    pub fn files(&self) -> &[TextFile] {
        &self.files
    }

    /// The `.json` files in folders that were left out, because each holds one object.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// Total size of the files in bytes (compressed size for `.gz` and `.zst`).
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|source| source.bytes).sum()
    }

    /// Iterates over the documents, from the first.
    pub fn documents(&self) -> Documents<'_> {
        Documents::new(&self.files, &self.options)
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
        let (format, compression) = format_by_name(&path);
        if format.is_none() {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|source| CorpusError::io(&path, source))?;
        if metadata.is_file() {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(TextFile { name, bytes: metadata.len(), format, compression, path });
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
        std::fs::write(dir.path().join("info.json"), "{\"version\": [1]}").unwrap();
        std::fs::write(dir.path().join("e.json"), "[\"\"]").unwrap();
        std::fs::write(dir.path().join("f.csv.zst"), "").unwrap();

        let corpus = Corpus::open(&[dir.path().to_owned()], &CorpusOptions::default()).unwrap();

        let names: Vec<&str> = corpus.files().iter().map(|s| s.name.as_str()).collect();
        let expected = ["a.jsonl.gz", "b/1.txt", "b/2.parquet", "c.TXT", "e.json", "f.csv.zst"];
        assert_eq!(names, expected);
        assert_eq!(corpus.bytes(), 8);
        assert_eq!(corpus.left_out(), [dir.path().join("info.json")]);
    }

    #[test]
    fn a_file_that_is_named_is_text_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("README.md");
        std::fs::write(&path, "x").unwrap();

        let corpus = Corpus::open(&[path], &CorpusOptions::default()).unwrap();

        let texts: Result<Vec<_>, _> = corpus.documents().map(|d| d.map(|d| d.text)).collect();
        assert_eq!(texts.unwrap(), ["x"]);
    }
}
