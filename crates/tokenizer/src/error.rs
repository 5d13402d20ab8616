//! Why text, ids, a vocabulary or a conversation could not be used.

use thiserror::Error;

use crate::conversation::Role;
use crate::limits::{MAX_PATTERN_BYTES, MAX_TOKEN_BYTES, MAX_VOCAB, TokenId};

/// Why a tokenizer could not be built, or could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The split pattern does not compile.
    #[error("the split pattern is not a valid regular expression")]
    InvalidPattern {
        /// What the regular expression engine says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The split pattern is longer than [`MAX_PATTERN_BYTES`].
    #[error("the split pattern has {found} bytes, more than {MAX_PATTERN_BYTES}")]
    PatternTooLong {
        /// Bytes of the pattern.
        found: usize,
    },
    /// The split pattern uses something that split patterns do not need.
    #[error("the split pattern uses \"{construct}\" at byte {position}, which is not supported")]
    UnsupportedPattern {
        /// The first characters of the construct.
        construct: String,
        /// Where it stands, in bytes from the start of the pattern.
        position: usize,
    },
    /// The repeats in the split pattern, taken as nested, are too many.
    #[error("the counts in the split pattern multiply to more than {max}")]
    PatternRepeatsTooOften {
        /// The largest product that is supported.
        max: usize,
    },
    /// There are more tokens than [`MAX_VOCAB`].
    #[error("the vocabulary has {found} tokens, more than {MAX_VOCAB}")]
    VocabularyTooLarge {
        /// Tokens, special ones included.
        found: usize,
    },
    /// A single byte has no token, so there would be texts without ids.
    #[error("no token stands for the single byte {byte:#04x}")]
    MissingByte {
        /// The byte.
        byte: u8,
    },
    /// A token has no bytes.
    #[error("token {id} is empty")]
    EmptyToken {
        /// Id of the token.
        id: TokenId,
    },
    /// A token is longer than [`MAX_TOKEN_BYTES`].
    #[error("token {id} has {found} bytes, more than {MAX_TOKEN_BYTES}")]
    TokenTooLong {
        /// Id of the token.
        id: TokenId,
        /// Bytes of the token.
        found: usize,
    },
    /// Two ids have the same bytes.
    #[error("\"{token}\" is both token {first} and token {second}")]
    DuplicateToken {
        /// The token, with anything but printable text escaped.
        token: String,
        /// The lower id.
        first: TokenId,
        /// The higher id.
        second: TokenId,
    },
    /// Two tokens have the same id.
    #[error("token id {id} is given twice")]
    DuplicateId {
        /// The id.
        id: TokenId,
    },
    /// An id is as large as the number of tokens or larger.
    #[error("token id {id} leaves a gap: {vocab_size} tokens have the ids from 0 on")]
    IdGap {
        /// The id.
        id: TokenId,
        /// Number of tokens, special ones included.
        vocab_size: usize,
    },
    /// Two special tokens have the same text.
    #[error("the special token {name} is given twice")]
    DuplicateSpecialToken {
        /// The text.
        name: String,
    },
    /// The split pattern needed more backtracking than the engine allows for this text.
    #[error("the split pattern gave up on a text of {text_bytes} bytes")]
    PatternGaveUp {
        /// Bytes of the text.
        text_bytes: usize,
        /// What the engine says.
        source: tiktoken_rs::EncodeError,
    },
    /// The split pattern does not match all of a text, so that encoding would lose a part of it.
    #[error("the split pattern leaves {skipped} of the text's {text_bytes} bytes out")]
    PatternSkipsText {
        /// Bytes that no match covers.
        skipped: usize,
        /// Bytes of the text.
        text_bytes: usize,
    },
    /// An id is not in the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size} tokens")]
    UnknownToken {
        /// The id.
        id: TokenId,
        /// Number of tokens, special ones included.
        vocab_size: usize,
    },
    /// The text is not JSON, or not of the shape of a tokenizer.
    #[error("not a tokenizer in JSON")]
    Json {
        /// What the parser says, with line and column.
        source: serde_json::Error,
    },
    /// The JSON says that it is something else.
    #[error("the format is \"{found}\", not \"{expected}\"")]
    JsonFormat {
        /// What the file says.
        found: String,
        /// The format that is read.
        expected: &'static str,
    },
    /// The JSON is of a version that this program does not know.
    #[error("version {found} of the format is not known, only {expected} is")]
    JsonVersion {
        /// What the file says.
        found: u32,
        /// The version that is read.
        expected: u32,
    },
    /// A token's text has a backslash that starts no known escape.
    #[error("token {id} has a broken escape: \\\\ and \\xNN are the two there are")]
    JsonEscape {
        /// Id of the token.
        id: usize,
    },
    /// An id stands for an ordinary token and a special one, or for neither.
    #[error("token {id} is null, but no special token has this id")]
    JsonHole {
        /// The id.
        id: usize,
    },
    /// The vocabulary has no such special token, which a conversation needs.
    #[error("the vocabulary has no special token {name}")]
    MissingSpecialToken {
        /// Text of the special token.
        name: &'static str,
    },
    /// A conversation has no message to render.
    #[error("the conversation has no message to render")]
    EmptyConversation,
    /// The roles of a conversation are not in nanochat's order.
    #[error("message {index} is from the {found}, where the {expected} is expected")]
    UnexpectedRole {
        /// Index of the message, from 0.
        index: usize,
        /// Who has to speak here.
        expected: Role,
        /// Who speaks.
        found: Role,
    },
    /// A message that has to be plain text has parts.
    #[error("message {index} from the {role} has parts, where only text is expected")]
    UnexpectedParts {
        /// Index of the message, from 0.
        index: usize,
        /// Who speaks.
        role: Role,
    },
}
