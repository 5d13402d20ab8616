use std::io;
use std::path::PathBuf;

use nanoscope_checkpoint::{CheckpointError, WeightDtype};
use nanoscope_hooks::HookPoint;
use nanoscope_tokenizer::TokenizerError;
use nanoscope_transformer::GptError;
use parquet::errors::ParquetError;

/// Errors from reading a corpus, and from computing, writing or reading activations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// An I/O operation failed, or a compressed file is damaged.
    #[error("{}", nanoscope_checkpoint::IoProblem { path, source })]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// A file or folder does not exist.
    #[error("{}: no such file or directory", path.display())]
    NoSuchPath {
        /// The file or folder.
        path: PathBuf,
    },
    /// A path is neither a file nor a folder; reading a pipe might never end.
    #[error("{} is neither a file nor a folder", path.display())]
    NoFile {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder contains no text files.
    #[error("{} contains no text files (.txt, .text, .jsonl, .ndjson, .json, .csv or .tsv, also with .gz or \
             .zst, or .parquet)",
            path.display())]
    NoTexts {
        /// The folder.
        path: PathBuf,
    },
    /// A line is not UTF-8.
    #[error("line {line} of {} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// A line, or a run of lines that cannot be split, exceeds the size limit.
    #[error("the text at line {line} of {} is longer than {limit} bytes", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line, from 1; for a run of lines, the last one.
        line: u64,
        /// Maximum size in bytes.
        limit: usize,
    },
    /// A file does not hold text.
    #[error("{} does not hold text: it is {found}", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// The kind of its content.
        found: String,
    },
    /// A place in a file is not JSON, or its text is not a string.
    #[error("could not read line {line}, column {column} of {}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column in bytes, from 1.
        column: u64,
        /// The reason.
        reason: String,
    },
    /// A line or a row has null in the place of a text.
    #[error("{place} of {} has no text: `{column}` is null", path.display())]
    NullText {
        /// The file.
        path: PathBuf,
        /// The line, or the row group of a parquet file.
        place: String,
        /// The requested field or column.
        column: String,
    },
    /// A JSON object holds no list of texts.
    #[error("{} is a JSON object with no list of texts under `{column}` (found {})",
            path.display(), listed(found))]
    NoList {
        /// The file.
        path: PathBuf,
        /// The requested key.
        column: String,
        /// The keys it has.
        found: Vec<String>,
    },
    /// A row of a table has more or fewer fields than its header.
    #[error("line {line} of {} has {found} fields; the header has {expected}", path.display())]
    RowLength {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Fields of the row.
        found: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// A JSON object lacks the requested field.
    #[error("line {line} of {} has no field `{column}` (found {})", path.display(), listed(found))]
    NoField {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The requested field.
        column: String,
        /// The fields it has.
        found: Vec<String>,
    },
    /// A CSV or parquet file lacks the requested column.
    #[error("{} has no column `{column}` (found {})", path.display(), listed(found))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The requested column.
        column: String,
        /// The columns it has.
        found: Vec<String>,
    },
    /// A CSV file has the requested column more than once.
    #[error("{} has more than one column `{column}`", path.display())]
    ColumnTwice {
        /// The file.
        path: PathBuf,
        /// The requested column.
        column: String,
    },
    /// A column of a parquet file does not hold one string per row.
    #[error("column `{column}` of {} holds {found}, not one text per row", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The contents of the column.
        found: String,
    },
    /// A parquet file is damaged.
    #[error("could not read {}{}", path.display(), in_row_group(*row_group))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The row group, from 0, if known.
        row_group: Option<usize>,
        /// The parquet error.
        source: ParquetError,
    },
    /// A row of a parquet file exceeds the size limit, or claims to.
    #[error("row group {row_group} of {} has {found} bytes of text; the maximum is {limit}",
            path.display())]
    ParquetTooLarge {
        /// The file.
        path: PathBuf,
        /// The row group, from 0.
        row_group: usize,
        /// Bytes that it has or claims to have.
        found: u64,
        /// The maximum possible or permitted size in bytes.
        limit: u64,
    },
    /// A text in a parquet file is not UTF-8.
    #[error("text {text} of row group {row_group} of {} is not valid UTF-8", path.display())]
    RowNotUtf8 {
        /// The file.
        path: PathBuf,
        /// The row group, from 0.
        row_group: usize,
        /// The text's index in the row group, from 0; rows without a text are not counted.
        text: u64,
    },
    /// A document could not be tokenized.
    #[error("could not encode document {document}")]
    Encode {
        /// The document's number in the corpus, from 0.
        document: u64,
        /// The tokenizer's error.
        source: TokenizerError,
    },
    /// The tokenizer lacks `<|bos|>`, which begins every document.
    #[error("the tokenizer has no `<|bos|>` token, which must begin every document")]
    NoBos,
    /// The texts are too short to fill one context.
    #[error("the texts have {found} token{}, too few for one context of {context_len}", if *found == 1 { "" } else { "s" })]
    TooFewTokens {
        /// Number of tokens in the texts.
        found: u64,
        /// Tokens per context.
        context_len: usize,
    },
    /// No hook point was given.
    #[error("no hook point was given")]
    NoPoint,
    /// The model does not have this hook point.
    #[error("the model has no {point}; it has {n_layer} blocks (0 to {})", .n_layer - 1)]
    NoSuchHook {
        /// The hook point.
        point: HookPoint,
        /// Number of blocks in the model.
        n_layer: usize,
    },
    /// A model of this family does not have the hook point.
    #[error("the model has no {point}: {reason}")]
    AbsentHook {
        /// The hook point.
        point: HookPoint,
        /// The reason.
        reason: &'static str,
    },
    /// A hook point does not have one activation per token.
    #[error("{point} has no activation per token: its width grows with the context")]
    NoWidth {
        /// The hook point.
        point: HookPoint,
    },
    /// A hook point was given twice.
    #[error("{point} is given twice")]
    HookTwice {
        /// The hook point.
        point: HookPoint,
    },
    /// All tokens are special tokens, which are skipped.
    #[error("the texts contain only special tokens")]
    NoRows,
    /// The model rejected the tokens.
    #[error("could not run the model on the texts")]
    Model {
        /// The model's error.
        #[from]
        source: GptError,
    },
    /// A value is not finite in the store's dtype.
    #[error("{hook} has {value} at row {row} of shard {shard}, which is not finite as {dtype}")]
    NotFinite {
        /// The hook point.
        hook: String,
        /// The store's dtype.
        dtype: WeightDtype,
        /// The shard.
        shard: u64,
        /// The row within the shard.
        row: usize,
        /// The value.
        value: f32,
    },
    /// A file of tensors could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A folder is not an activation store.
    #[error("{} is not an activation store: it has no manifest", path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// A manifest or journal is damaged or inconsistent.
    #[error("invalid manifest {}: {what}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The problem.
        what: String,
    },
    /// The folder holds a different store.
    #[error("{} belongs to a different store: {}", path.display(), differences.join("; "))]
    Differs {
        /// The manifest or journal found there.
        path: PathBuf,
        /// The differences, in words.
        differences: Vec<String>,
    },
    /// Another run is writing the same part.
    #[error("another run is writing this part: it has locked {}", path.display())]
    Busy {
        /// The journal it has locked.
        path: PathBuf,
    },
    /// There is too little free disk space.
    #[error("{} needs {needed} bytes ({}), and {free} ({}) are free", path.display(),
            gigabytes(*needed), gigabytes(*free))]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// Bytes available.
        free: u64,
    },
    /// Parts or shards of a store are missing.
    #[error("{} is incomplete: missing {}", path.display(), missing.join(", "))]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// The missing files or shards; only the first ones if there are many.
        missing: Vec<String>,
    },
    /// A shard does not match its manifest.
    #[error("{} does not match its manifest: expected {expected}, found {found}", path.display())]
    ChangedShard {
        /// The shard's file.
        path: PathBuf,
        /// The value in the manifest.
        expected: String,
        /// The value found.
        found: String,
    },
    /// A store has no activations at a hook point.
    #[error("{} has no activations at {point} (found {})", path.display(), listed(found))]
    NotCollected {
        /// The folder.
        path: PathBuf,
        /// The requested hook point.
        point: HookPoint,
        /// The hook points it has.
        found: Vec<String>,
    },
    /// A tensor does not hold rows of activations.
    #[error("{} [{tensor}] has no rows of activations: its shape is {shape:?}", path.display())]
    NoActivations {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A token, document, context or position is out of range.
    #[error("`{tensor}` in {} has the value {found}, which is out of range", path.display())]
    NoIndex {
        /// The shard's file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The value.
        found: i64,
    },
    /// The progress callback cancelled the operation.
    #[error("interrupted")]
    Interrupted,
}

impl CorpusError {
    /// Wraps an I/O error with the path it occurred on.
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoSuchPath { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Lists names for an error message, up to a readable number.
fn listed(found: &[String]) -> String {
    const SHOWN: usize = 20;

    let names = found.iter().take(SHOWN).map(|name| {
        let short: String = name.chars().take(60).collect();
        format!("`{short}`")
    });
    let names = names.collect::<Vec<_>>().join(", ");
    match found.len() {
        0 => "none".to_owned(),
        n if n > SHOWN => format!("{names} and {} more", n - SHOWN),
        _ => names,
    }
}

fn in_row_group(row_group: Option<usize>) -> String {
    row_group.map_or(String::new(), |index| format!(", row group {index}"))
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}
