/// Errors in a model configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A size is zero or above the largest size accepted.
    #[error("{field} is {found}, it must be in 1..={max}")]
    Size {
        /// The config's key.
        field: &'static str,
        /// The value given.
        found: usize,
        /// The largest value accepted.
        max: usize,
    },
    /// A constant would make logits infinite or NaN.
    #[error("{field} is {found}, it must be {needed}")]
    Number {
        /// The config's key.
        field: &'static str,
        /// The value given.
        found: String,
        /// The values accepted.
        needed: &'static str,
    },
    /// A size is not a multiple of another.
    #[error("{field} is {found}, it must be a multiple of {of_field} = {of}")]
    NotAMultiple {
        /// The config's key.
        field: &'static str,
        /// The value given.
        found: usize,
        /// The key that it must be a multiple of.
        of_field: &'static str,
        /// That key's value.
        of: usize,
    },
    /// The rotated channels do not form pairs within a head.
    #[error(
        "rotary embedding needs an even number of channels, at most head_dim = {head_dim}, found {found}"
    )]
    RopeChannels {
        /// The number of channels.
        found: usize,
        /// The head dimension.
        head_dim: usize,
    },
    /// The residual stream is narrower than the channels that a gate reads.
    #[error("n_embd is {found}, era {era} reads the first {needed} channels")]
    TooNarrow {
        /// The width of the residual stream.
        found: usize,
        /// The number of channels that the gate reads.
        needed: usize,
        /// The era that has this gate.
        era: crate::Era,
    },
    /// The window pattern is not a string of `S` (short) and `L` (long), to be tiled over the layers.
    #[error("window_pattern is `{found}`, it must be made of the letters S and L")]
    WindowPattern {
        /// The pattern given.
        found: String,
    },
    /// The era has no sliding windows.
    #[error("era {era} has no window_pattern, the config says `{found}`")]
    NoWindows {
        /// The era.
        era: crate::Era,
        /// The pattern given.
        found: String,
    },
    /// The name is not the name of an era.
    #[error(
        "unknown era `{name}` (expected {}){}",
        crate::Era::names(),
        nanoscope_hooks::did_you_mean(.name, crate::Era::ALL.map(|era| era.to_string()))
    )]
    UnknownEra {
        /// The name given.
        name: String,
    },
}

/// Errors in the input of a forward pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GptError {
    /// The batch has no tokens.
    #[error("no tokens to run")]
    NoTokens,
    /// The rows of a batch differ in length.
    #[error("row {row} has {found} tokens, row 0 has {expected}; rows must be equally long")]
    RaggedRows {
        /// The first row that differs.
        row: usize,
        /// Its length.
        found: usize,
        /// The length of row 0.
        expected: usize,
    },
    /// A token id is not in the vocabulary.
    #[error(
        "token id {id} at row {row}, position {position} is outside the vocabulary of {vocab_size}"
    )]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Its row.
        row: usize,
        /// Its position in the row.
        position: usize,
        /// The number of ids.
        vocab_size: usize,
    },
    /// The sequence is longer than the context or the cache.
    #[error("{needed} positions needed, the context holds {capacity}")]
    ContextFull {
        /// Number of positions after the pass.
        needed: usize,
        /// Number of positions available.
        capacity: usize,
    },
    /// Rows at different positions have different numbers of keys, so their attention patterns do not
    /// form one tensor.
    #[error("{hook} is not available for rows at different positions")]
    RaggedPattern {
        /// The hook point.
        hook: String,
    },
    /// The weights of the model cannot be centred.
    #[error(
        "the residual stream cannot be centred: the norms of the model do not subtract the mean"
    )]
    NotCentrable,
    /// The cache has another batch size.
    #[error("the batch has {found} rows, the key-value cache {expected}")]
    BatchMismatch {
        /// Rows of the batch.
        found: usize,
        /// Rows of the cache.
        expected: usize,
    },
}
