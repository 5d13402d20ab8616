//! Conversations as nanochat keeps them, and its special tokens.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Starts every document.
pub const BOS: &str = "<|bos|>";
/// Starts a message of the user.
pub const USER_START: &str = "<|user_start|>";
/// Ends a message of the user.
pub const USER_END: &str = "<|user_end|>";
/// Starts a message of the assistant.
pub const ASSISTANT_START: &str = "<|assistant_start|>";
/// Ends a message of the assistant.
pub const ASSISTANT_END: &str = "<|assistant_end|>";
/// Starts an expression that the assistant wants computed.
pub const PYTHON_START: &str = "<|python_start|>";
/// Ends an expression that the assistant wants computed.
pub const PYTHON_END: &str = "<|python_end|>";
/// Starts the result of a computed expression.
pub const OUTPUT_START: &str = "<|output_start|>";
/// Ends the result of a computed expression.
pub const OUTPUT_END: &str = "<|output_end|>";

/// A chat as nanochat keeps it in JSON: `{"messages": [{"role": "user", "content": "Hi"}]}`.
///
/// Keys beside `messages` are ignored: nanochat's own data sets put a task's `letters` and `subject`
/// there. Within a message an unknown key is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
}

/// One message of a [`Conversation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the first message of the user.
    System,
    /// The person.
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

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of parts")]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Text with computed expressions between; only the assistant writes such messages.
    Parts(Vec<Part>),
}

/// A piece of an assistant's message: `{"type": "python", "text": "2+2"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "text", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// Plain text.
    Text(String),
    /// An expression that the assistant wants computed.
    Python(String),
    /// The result, which the model is given and does not learn to write.
    PythonOutput(String),
}
