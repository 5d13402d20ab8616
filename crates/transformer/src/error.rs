/// Why a model configuration makes no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A size is zero or larger than any model that this code could hold.
    #[error("{field} is {found}, it must be in 1..={most}")]
    Size {
        /// The config's key.
        field: &'static str,
        /// The value given.
        found: usize,
        /// The largest value taken.
        most: usize,
    },
    /// A number would make logits infinite or NaN.
    #[error("{field} is {found}, it must be {needed}")]
    Number {
        /// The config's key.
        field: &'static str,
        /// The value given.
        found: String,
        /// The values taken.
        needed: &'static str,
    },
    /// One size must be a multiple of another.
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
    /// Rotary embedding turns pairs of channels.
    #[error("n_embd / n_head is {found}, rotary embedding needs an even number")]
    OddHeadDim {
        /// The head dimension.
        found: usize,
    },
    /// Gates read the first channels of the residual stream, and it is narrower than that.
    #[error("n_embd is {found}, era {era} reads the first {needed} channels")]
    TooNarrow {
        /// The width of the residual stream.
        found: usize,
        /// The channels that a gate reads.
        needed: usize,
        /// The era that has this gate.
        era: crate::Era,
    },
    /// A window pattern is a string of `S` (short) and `L` (long), tiled over the layers.
    #[error("window_pattern is `{found}`, it must be made of the letters S and L")]
    WindowPattern {
        /// The pattern given.
        found: String,
    },
    /// The era's model has no sliding windows.
    #[error("era {era} has no window_pattern, the config says `{found}`")]
    NoWindows {
        /// The era.
        era: crate::Era,
        /// The pattern given.
        found: String,
    },
    /// No era has this name.
    #[error("unknown era `{name}`; known are {}", crate::Era::names())]
    UnknownEra {
        /// The name given.
        name: String,
    },
}

/// Why a forward pass was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GptError {
    /// There is nothing to run.
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
        /// Its place in the row.
        position: usize,
        /// How many ids there are.
        vocab_size: usize,
    },
    /// The sequence is longer than its place.
    #[error("{needed} positions needed, the context holds {capacity}")]
    ContextFull {
        /// Positions that the pass would end with.
        needed: usize,
        /// Positions that there are.
        capacity: usize,
    },
    /// Rows at different positions see different numbers of keys, so their patterns are no tensor.
    #[error("{hook} cannot be had of rows that stand at different positions")]
    RaggedPattern {
        /// The hook point.
        hook: String,
    },
    /// The cache was made for another batch size.
    #[error("the batch has {found} rows, the key-value cache {expected}")]
    BatchMismatch {
        /// Rows of the batch.
        found: usize,
        /// Rows of the cache.
        expected: usize,
    },
}
