//! Token ids, and the largest sizes that a vocabulary may have.

/// Index of a token in the vocabulary.
pub type TokenId = u32;

/// Most tokens, special ones included, that a vocabulary may have.
pub const MAX_VOCAB: usize = 1 << 20;

/// Most bytes that one token or one special token's text may have.
pub const MAX_TOKEN_BYTES: usize = 1 << 16;

/// Most bytes that the split pattern may have.
pub const MAX_PATTERN_BYTES: usize = 1 << 12;
