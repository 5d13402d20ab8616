//! Token ids and the limits of a vocabulary.

/// Index of a token in the vocabulary.
pub type TokenId = u32;

/// The largest number of tokens in a vocabulary, special ones included.
pub const MAX_VOCAB: usize = 1 << 20;

/// The largest length of a token or of a special token's text, in bytes.
pub const MAX_TOKEN_BYTES: usize = 1 << 16;

/// The largest length of the split pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1 << 12;

/// The largest length of a chat template, in bytes. The longest of the families' have some 20,000.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
