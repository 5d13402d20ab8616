use std::io;
use std::path::PathBuf;

use nanoscope_checkpoint::{CheckpointError, WeightDtype};
use nanoscope_hooks::HookPoint;
use nanoscope_tokenizer::TokenizerError;
use nanoscope_transformer::GptError;
use parquet::errors::ParquetError;

/// Why a corpus could not be read, or its activations not be made or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The operating system refuses, or a packed file is damaged.
    #[error("could not read or write {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A path is neither a file nor a folder; a pipe may never end.
    #[error("{} is neither a file nor a folder", path.display())]
    NoFile {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder has no file that is taken for text.
    #[error("{} has no texts: no .txt, .text, .jsonl, .ndjson (or these with .gz) or .parquet",
            path.display())]
    NoTexts {
        /// The folder.
        path: PathBuf,
    },
    /// A line is not UTF-8.
    #[error("line {line} of {} is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// A line, or a stretch of lines that cannot be divided, is longer than is held in memory.
    #[error("line {line} of {} goes on for more than {limit} bytes", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line, from 1; the last line of a stretch.
        line: u64,
        /// The most bytes that are taken.
        limit: usize,
    },
    /// A line of a JSONL file is no JSON object, or its text is no string.
    #[error("line {line} of {}", path.display())]
    JsonLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line of a JSONL file has no field of the name that was asked for.
    #[error("line {line} of {} has no field `{column}`, but {}", path.display(), listed(found))]
    NoField {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The field that was asked for.
        column: String,
        /// The fields that there are.
        found: Vec<String>,
    },
    /// A parquet file has no column of the name that was asked for.
    #[error("{} has no column `{column}`, but {}", path.display(), listed(found))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column that was asked for.
        column: String,
        /// The columns that there are.
        found: Vec<String>,
    },
    /// A parquet file's column does not hold one string per row.
    #[error("column `{column}` of {} holds {found}, not one text per row", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it holds.
        found: String,
    },
    /// A parquet file is damaged.
    #[error("could not read {}{}", path.display(), in_row_group(*row_group))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The row group, from 0, if it is known.
        row_group: Option<usize>,
        /// What is wrong with it.
        source: ParquetError,
    },
    /// A row of a parquet file is longer than is held in memory, or claims to be.
    #[error("row group {row_group} of {} has {found} bytes of text where at most {limit} can be",
            path.display())]
    ParquetTooLarge {
        /// The file.
        path: PathBuf,
        /// The row group, from 0.
        row_group: usize,
        /// Bytes that it has or claims.
        found: u64,
        /// The most that is possible or taken.
        limit: u64,
    },
    /// A text of a parquet file is not UTF-8.
    #[error("text {text} of row group {row_group} of {} is not UTF-8", path.display())]
    RowNotUtf8 {
        /// The file.
        path: PathBuf,
        /// The row group, from 0.
        row_group: usize,
        /// Which of its texts, from 0; rows without one do not count.
        text: u64,
    },
    /// A document could not be made into tokens.
    #[error("could not encode document {document}")]
    Encode {
        /// The document's number in the corpus, from 0.
        document: u64,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// The tokenizer has no token that documents begin with.
    #[error("the tokenizer has no `<|bos|>`, which is put before every document")]
    NoBos,
    /// The texts do not fill one context.
    #[error("the texts have {found} tokens, which do not fill one context of {context_len}")]
    TooFewTokens {
        /// Tokens that there are.
        found: u64,
        /// Tokens of a context.
        context_len: usize,
    },
    /// No hook point was asked for.
    #[error("there is no hook point to collect at")]
    NoPoint,
    /// The model has no such hook point.
    #[error("the model has no {point}, it has {n_layer} blocks (0 to {})", .n_layer - 1)]
    NoSuchHook {
        /// The hook point.
        point: HookPoint,
        /// Blocks of the model.
        n_layer: usize,
    },
    /// A hook point has no activation per token.
    #[error("{point} has no row per token: its width grows with the context")]
    NoWidth {
        /// The hook point.
        point: HookPoint,
    },
    /// A hook point was asked for twice.
    #[error("{point} is asked for twice")]
    HookTwice {
        /// The hook point.
        point: HookPoint,
    },
    /// All tokens are special, and these do not count.
    #[error("the texts have no token that counts")]
    NoRows,
    /// The model does not take the tokens.
    #[error("could not run the model on the texts")]
    Model {
        /// What is wrong with them.
        #[from]
        source: GptError,
    },
    /// A number cannot be written in the store's dtype.
    #[error("{hook} has {value} at row {row} of shard {shard}, which is not finite as {dtype}")]
    NotFinite {
        /// The hook point.
        hook: String,
        /// The store's dtype.
        dtype: WeightDtype,
        /// The shard.
        shard: u64,
        /// The row in the shard.
        row: usize,
        /// The number.
        value: f32,
    },
    /// A file of tensors could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A folder holds no activation store.
    #[error("{} is no activation store: it has no manifest", path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// A manifest or journal is damaged, or says what cannot be.
    #[error("could not understand the manifest {}: {what}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What is in the folder is of another store.
    #[error("{} is of another store: {}", path.display(), differences.join("; "))]
    Differs {
        /// The manifest or journal that is there.
        path: PathBuf,
        /// What differs, in words.
        differences: Vec<String>,
    },
    /// Another run is writing the same part.
    #[error("another run is writing here: it holds {}", path.display())]
    Busy {
        /// The journal that it holds.
        path: PathBuf,
    },
    /// The disk is too small for what is to be written.
    #[error("{} needs {needed} bytes ({}), and {free} ({}) are free", path.display(),
            gigabytes(*needed), gigabytes(*free))]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// Bytes that will be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Parts or shards of a store are not there.
    #[error("{} is not complete, it lacks {}", path.display(), missing.join(", "))]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// The files or shards that are missing, the first ones if there are many.
        missing: Vec<String>,
    },
    /// A shard is not the one that its manifest describes.
    #[error("{} is not as it was written: expected {expected}, found {found}", path.display())]
    ChangedShard {
        /// The shard's file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A store has no activations at a hook point.
    #[error("{} has no activations at {point}, but at {}", path.display(), listed(found))]
    NotCollected {
        /// The folder.
        path: PathBuf,
        /// The hook point that was asked for.
        point: HookPoint,
        /// Those that there are.
        found: Vec<String>,
    },
    /// An activation file that cannot be.
    #[error("{} [{tensor}] has no rows of activations: its shape is {shape:?}", path.display())]
    NoActivations {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A number of a token, document, context or position is none.
    #[error("`{tensor}` of {} has {found}, which is no number of a thing", path.display())]
    NoIndex {
        /// The shard's file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The number.
        found: i64,
    },
    /// Whoever was told of the progress said that it is enough.
    #[error("interrupted")]
    Interrupted,
}

impl CorpusError {
    /// An IO error with the file it happened on.
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

/// As many names as a person reads.
fn listed(found: &[String]) -> String {
    const SHOWN: usize = 20;

    let names = found.iter().take(SHOWN).map(|name| {
        let short: String = name.chars().take(60).collect();
        format!("`{short}`")
    });
    let names = names.collect::<Vec<_>>().join(", ");
    match found.len() {
        0 => "none at all".to_owned(),
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
