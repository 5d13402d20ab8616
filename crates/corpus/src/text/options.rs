/// Options for reading the files of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusOptions {
    /// The field of JSON objects, or column of CSV and parquet files, that contains the text.
    /// Default: `text`.
    pub text_column: String,
    /// True if a line or row without a text is an error; otherwise it is passed over and counted.
    /// Default: false.
    pub strict: bool,
    /// Maximum size in bytes of a text held in memory: a JSON line or element, a row, or a run of
    /// plain-text lines that cannot be split. Default: [`MAX_TEXT_BYTES`].
    pub max_document_bytes: usize,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { text_column: "text".to_owned(), strict: false, max_document_bytes: MAX_TEXT_BYTES }
    }
}

/// Default maximum size in bytes of a text held in memory: a JSON line or element, a row, or a run of
/// plain-text lines that cannot be split. A longer one is an error.
pub const MAX_TEXT_BYTES: usize = 16 << 20;
