use nanoscope_tokenizer::{
    ASSISTANT_END, ASSISTANT_START, BOS, OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START,
    Tokenizer, TokenizerParts, USER_END, USER_START,
};

/// nanochat's special tokens, in the order of their ids.
pub const SPECIAL_TOKENS: [&str; 9] = [
    BOS,
    USER_START,
    USER_END,
    ASSISTANT_START,
    ASSISTANT_END,
    PYTHON_START,
    PYTHON_END,
    OUTPUT_START,
    OUTPUT_END,
];

/// A tokenizer with one token per byte, whose id is the byte, and the special tokens from id 256 on.
///
/// # Panics
/// If two special tokens are the same.
pub fn byte_tokenizer(special_tokens: &[&str]) -> Tokenizer {
    Tokenizer::new(TokenizerParts {
        pattern: r"(?s:.)".to_owned(),
        ranks: (0..=u8::MAX).map(|byte| (vec![byte], byte.into())).collect(),
        special_tokens: special_tokens.iter().map(|&name| name.to_owned()).zip(256..).collect(),
    })
    .expect("every byte has a token and the names differ")
}
