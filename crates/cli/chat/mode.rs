//! The modes of a session.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};
use nanoscope_hooks::did_you_mean;

/// The role of a typed line in the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A user message after the conversation so far.
    Chat,
    /// The beginning of a text.
    Story,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chat => "chat",
            Self::Story => "story",
        })
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "chat" => Ok(Self::Chat),
            "story" => Ok(Self::Story),
            _ => bail!(
                "unknown mode `{text}`; expected chat or story{}",
                did_you_mean(text, ["chat", "story"])
            ),
        }
    }
}
