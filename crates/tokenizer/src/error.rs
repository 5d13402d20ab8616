//! Errors of the tokenizer.

use thiserror::Error;

use crate::conversation::Role;
use crate::limits::{MAX_PATTERN_BYTES, MAX_TEMPLATE_BYTES, MAX_TOKEN_BYTES, MAX_VOCAB, TokenId};

/// Errors in building or using a tokenizer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The split pattern does not compile.
    #[error("the split pattern is not a valid regular expression")]
    InvalidPattern {
        /// The error of the regular expression engine.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The split pattern is longer than [`MAX_PATTERN_BYTES`].
    #[error("the split pattern has {found} bytes, more than {MAX_PATTERN_BYTES}")]
    PatternTooLong {
        /// Length of the pattern in bytes.
        found: usize,
    },
    /// The split pattern uses a construct that is not supported.
    #[error("the split pattern uses \"{construct}\" at byte {position}, which is not supported")]
    UnsupportedPattern {
        /// The first characters of the construct.
        construct: String,
        /// Its position, in bytes from the start of the pattern.
        position: usize,
    },
    /// The repeat counts in the split pattern, taken as nested, are too large.
    #[error("the counts in the split pattern multiply to more than {max}")]
    PatternRepeatsTooOften {
        /// The largest product that is supported.
        max: usize,
    },
    /// The vocabulary has more than [`MAX_VOCAB`] tokens.
    #[error("the vocabulary has {found} tokens, more than {MAX_VOCAB}")]
    VocabularyTooLarge {
        /// Number of tokens, special ones included.
        found: usize,
    },
    /// The special tokens are too long in all to be searched for.
    #[error("the special tokens cannot be searched for in a text")]
    SpecialTokensTooLarge {
        /// The error of the search engine.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A single byte has no token, so that some texts could not be encoded.
    #[error("the single byte {byte:#04x} has no token")]
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
        /// Length of the token in bytes.
        found: usize,
    },
    /// Two ids have the same bytes.
    #[error("\"{token}\" is both token {first} and token {second}")]
    DuplicateToken {
        /// The token, with everything but printable text escaped.
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
    #[error("token id {id} leaves a gap; {vocab_size} tokens have the ids from 0 on")]
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
        /// Length of the text in bytes.
        text_bytes: usize,
        /// The error of the engine.
        source: tiktoken_rs::EncodeError,
    },
    /// The split pattern does not match all of a text, so that encoding would lose a part of it.
    #[error("the split pattern does not match {skipped} of the text's {text_bytes} bytes")]
    PatternSkipsText {
        /// Number of bytes that no match covers.
        skipped: usize,
        /// Length of the text in bytes.
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
    /// The text is not JSON, or not the JSON of a tokenizer.
    #[error("not a tokenizer in JSON")]
    Json {
        /// The error of the parser, with line and column.
        source: serde_json::Error,
    },
    /// The JSON has another format.
    #[error("the format is \"{found}\", not \"{expected}\"")]
    JsonFormat {
        /// The format in the file.
        found: String,
        /// The format that is supported.
        expected: &'static str,
    },
    /// The JSON has a version that is not supported.
    #[error("version {found} of the format is not supported, only {expected} is")]
    JsonVersion {
        /// The version in the file.
        found: u32,
        /// The version that is supported.
        expected: u32,
    },
    /// A backslash in a token's text does not start a known escape.
    #[error("token {id} has an unknown escape (expected \\\\ or \\xNN)")]
    JsonEscape {
        /// Id of the token.
        id: usize,
    },
    /// An id has neither an ordinary nor a special token.
    #[error("token {id} is null, but no special token has this id")]
    JsonHole {
        /// The id.
        id: usize,
    },
    /// The vocabulary lacks a special token that is needed.
    #[error("the vocabulary has no special token {name}")]
    MissingSpecialToken {
        /// Text of the special token.
        name: &'static str,
    },
    /// A part of a `tokenizer.json` is of a kind that is not read.
    #[error("{part} is `{found}` (expected {expected})")]
    UnsupportedPart {
        /// The part.
        part: &'static str,
        /// Its kind or value in the file.
        found: String,
        /// The kinds or values that are read.
        expected: &'static str,
    },
    /// An added token of a `tokenizer.json` has another id than the vocabulary gives it.
    #[error("the added token {token:?} has the id {id}; the vocabulary gives it {given}")]
    AddedTokenId {
        /// The token, at most 80 characters of it.
        token: String,
        /// The id in the file.
        id: TokenId,
        /// The id in the vocabulary, or `none`.
        given: String,
    },
    /// The `tokenizers` library cannot read a file or encode a text.
    #[error("the tokenizers library gave up")]
    HuggingFace {
        /// Its error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The chat template is longer than a template may be.
    #[error("the chat template has {found} bytes, more than {MAX_TEMPLATE_BYTES}")]
    ChatTemplateTooLong {
        /// Length in bytes.
        found: usize,
    },
    /// The chat template is not Jinja, fails, does not end or writes too much.
    #[error("the chat template does not work")]
    ChatTemplate {
        /// The error of the template engine, with its line.
        source: Box<minijinja::Error>,
    },
    /// The chat template refuses a conversation.
    #[error("the chat template refuses the conversation: {message}")]
    ChatTemplateRaised {
        /// The template's own words.
        message: String,
    },
    /// The tokenizer has no chat template, so that its model completes texts and does not chat.
    #[error("the tokenizer has no chat template: its model completes texts and does not chat")]
    NoChatTemplate,
    /// The chat template writes a turn differently once another follows, so that a conversation
    /// cannot be continued by its ids.
    #[error("the chat template rewrites earlier turns; a turn cannot be added to a conversation")]
    TurnsNotAppendable,
    /// The conversation has no message to render.
    #[error("the conversation has no message to render")]
    EmptyConversation,
    /// The roles of a conversation are not in nanochat's order.
    #[error("message {index} is from the {found}; expected the {expected}")]
    UnexpectedRole {
        /// Index of the message, from 0.
        index: usize,
        /// The role expected.
        expected: Role,
        /// The role found.
        found: Role,
    },
    /// A message that has to be plain text has parts.
    #[error("message {index} from the {role} has parts; expected text")]
    UnexpectedParts {
        /// Index of the message, from 0.
        index: usize,
        /// The role of the message.
        role: Role,
    },
}
