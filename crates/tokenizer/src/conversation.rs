//! Conversations as nanochat keeps them, and its special tokens.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Starts every document.
pub const BOS: &str = "<|bos|>";
/// Starts a user message.
pub const USER_START: &str = "<|user_start|>";
/// Ends a user message.
pub const USER_END: &str = "<|user_end|>";
/// Starts an assistant message.
pub const ASSISTANT_START: &str = "<|assistant_start|>";
/// Ends an assistant message.
pub const ASSISTANT_END: &str = "<|assistant_end|>";
/// Starts a Python expression to evaluate, written by the assistant.
pub const PYTHON_START: &str = "<|python_start|>";
/// Ends a Python expression to evaluate.
pub const PYTHON_END: &str = "<|python_end|>";
/// Starts the result of an evaluated expression.
pub const OUTPUT_START: &str = "<|output_start|>";
/// Ends the result of an evaluated expression.
pub const OUTPUT_END: &str = "<|output_end|>";

/// A conversation in nanochat's JSON: `{"messages": [{"role": "user", "content": "Hi"}]}`.
///
/// Keys other than `messages` are ignored, because nanochat's own data sets have the `letters` and
/// `subject` of a task there. Within a message an unknown key is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
}

/// One message of a [`Conversation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The content.
    pub content: Content,
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the first message of the user.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        })
    }
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of parts")]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Text interleaved with evaluated expressions; only in messages of the assistant.
    Parts(Vec<Part>),
}

/// A part of an assistant's message: `{"type": "python", "text": "2+2"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "text", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// Plain text.
    Text(String),
    /// A Python expression to evaluate.
    Python(String),
    /// The result of an expression, which the model reads and does not learn to write.
    PythonOutput(String),
}
