use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};

/// How a line is put to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As the user's message, after the conversation so far.
    Chat,
    /// As the beginning of a text.
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
            _ => bail!("a mode is chat or story, not `{text}`"),
        }
    }
}
