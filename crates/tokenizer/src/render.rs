//! Conversations laid out in nanochat's special tokens.

use std::borrow::Cow;

use crate::bpe::Tokenizer;
use crate::conversation::{
    ASSISTANT_END, ASSISTANT_START, BOS, Content, Conversation, Message, OUTPUT_END, OUTPUT_START,
    PYTHON_END, PYTHON_START, Part, Role, USER_END, USER_START,
};
use crate::error::TokenizerError;
use crate::limits::TokenId;

/// Where nanochat cuts a rendered conversation when it is not told otherwise.
pub const DEFAULT_MAX_TOKENS: usize = 2048;

/// A conversation as ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The ids, starting with [`BOS`].
    pub ids: Vec<TokenId>,
    /// For each id, whether the assistant writes it, so that it counts in training.
    pub mask: Vec<bool>,
}

impl Tokenizer {
    /// Lays out a whole conversation, cut to its first `max_tokens` ids.
    ///
    /// As nanochat's `render_conversation`: a system message joins the first user message with an
    /// empty line between; then user and assistant take turns, the user first.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::EmptyConversation`], [`TokenizerError::UnexpectedRole`] or
    /// [`TokenizerError::UnexpectedParts`] for a conversation that nanochat refuses too,
    /// [`TokenizerError::MissingSpecialToken`], and the errors of [`encode`](Self::encode).
    pub fn render_conversation(
        &self,
        conversation: &Conversation,
        max_tokens: usize,
    ) -> Result<Rendered, TokenizerError> {
        self.render_messages(&conversation.messages, max_tokens)
    }

    /// Lays out a conversation up to its last message, which is the assistant's, and starts that
    /// message, so that a model continues with its own.
    ///
    /// As nanochat's `render_for_completion`, with its cut at [`DEFAULT_MAX_TOKENS`].
    ///
    /// # Errors
    ///
    /// As [`render_conversation`](Self::render_conversation), and
    /// [`TokenizerError::UnexpectedRole`] if the last message is not the assistant's.
    pub fn render_for_completion(
        &self,
        conversation: &Conversation,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let Some((last, before)) = conversation.messages.split_last() else {
            return Err(TokenizerError::EmptyConversation);
        };
        expect_role(Role::Assistant, last, before.len())?;
        let mut ids = self.render_messages(before, DEFAULT_MAX_TOKENS)?.ids;
        ids.push(self.required_special(ASSISTANT_START)?);
        Ok(ids)
    }

    /// The ids after which a model answers a user's first message, as in nanochat's `chat_cli`:
    /// [`BOS`] and then [`chat_turn`](Self::chat_turn).
    ///
    /// # Errors
    ///
    /// [`TokenizerError::MissingSpecialToken`] and the errors of [`encode`](Self::encode).
    pub fn chat_prompt(&self, user_text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = vec![self.required_special(BOS)?];
        ids.extend(self.chat_turn(user_text)?);
        Ok(ids)
    }

    /// The ids that a user's message adds to a conversation, up to the start of the answer. The
    /// answer before it has to end in [`ASSISTANT_END`].
    ///
    /// # Errors
    ///
    /// [`TokenizerError::MissingSpecialToken`] and the errors of [`encode`](Self::encode).
    pub fn chat_turn(&self, user_text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = vec![self.required_special(USER_START)?];
        ids.extend(self.encode(user_text)?);
        ids.push(self.required_special(USER_END)?);
        ids.push(self.required_special(ASSISTANT_START)?);
        Ok(ids)
    }

    fn render_messages(
        &self,
        messages: &[Message],
        max_tokens: usize,
    ) -> Result<Rendered, TokenizerError> {
        let (system, turns) = match messages {
            [] => return Err(TokenizerError::EmptyConversation),
            [system, turns @ ..] if system.role == Role::System => {
                if turns.is_empty() {
                    return Err(TokenizerError::EmptyConversation);
                }
                (Some(plain_text(system, 0)?), turns)
            }
            turns => (None, turns),
        };
        let skipped = messages.len() - turns.len();

        let mut rendered = Rendered::default();
        rendered.push(self.required_special(BOS)?, GIVEN);
        for (turn, message) in turns.iter().enumerate() {
            let index = turn + skipped;
            if turn % 2 == 0 {
                expect_role(Role::User, message, index)?;
                let text = plain_text(message, index)?;
                let text = match system {
                    Some(system) if turn == 0 => Cow::from(format!("{system}\n\n{text}")),
                    _ => Cow::from(text),
                };
                let span = (Some((USER_START, USER_END)), GIVEN);
                self.render_span(&mut rendered, &text, span)?;
            } else {
                expect_role(Role::Assistant, message, index)?;
                self.render_assistant(&mut rendered, &message.content)?;
            }
        }
        rendered.ids.truncate(max_tokens);
        rendered.mask.truncate(max_tokens);
        Ok(rendered)
    }

    fn render_assistant(
        &self,
        rendered: &mut Rendered,
        content: &Content,
    ) -> Result<(), TokenizerError> {
        rendered.push(self.required_special(ASSISTANT_START)?, GIVEN);
        match content {
            Content::Text(text) => self.render_span(rendered, text, (None, WRITTEN))?,
            Content::Parts(parts) => {
                for part in parts {
                    let (text, span) = match part {
                        Part::Text(text) => (text, (None, WRITTEN)),
                        Part::Python(text) => (text, (Some((PYTHON_START, PYTHON_END)), WRITTEN)),
                        Part::PythonOutput(text) => {
                            (text, (Some((OUTPUT_START, OUTPUT_END)), GIVEN))
                        }
                    };
                    self.render_span(rendered, text, span)?;
                }
            }
        }
        rendered.push(self.required_special(ASSISTANT_END)?, WRITTEN);
        Ok(())
    }

    /// Appends `text`, between two special tokens if there are any, all with the same mask.
    fn render_span(
        &self,
        rendered: &mut Rendered,
        text: &str,
        (around, mask): (Option<(&'static str, &'static str)>, bool),
    ) -> Result<(), TokenizerError> {
        if let Some((start, _)) = around {
            rendered.push(self.required_special(start)?, mask);
        }
        for id in self.encode(text)? {
            rendered.push(id, mask);
        }
        if let Some((_, end)) = around {
            rendered.push(self.required_special(end)?, mask);
        }
        Ok(())
    }
}

impl Rendered {
    fn push(&mut self, id: TokenId, mask: bool) {
        self.ids.push(id);
        self.mask.push(mask);
    }
}

fn expect_role(expected: Role, message: &Message, index: usize) -> Result<(), TokenizerError> {
    if message.role == expected {
        Ok(())
    } else {
        Err(TokenizerError::UnexpectedRole { index, expected, found: message.role })
    }
}

fn plain_text(message: &Message, index: usize) -> Result<&str, TokenizerError> {
    match &message.content {
        Content::Text(text) => Ok(text),
        Content::Parts(_) => Err(TokenizerError::UnexpectedParts { index, role: message.role }),
    }
}

/// Mask of what the model is given.
const GIVEN: bool = false;

/// Mask of what the model writes.
const WRITTEN: bool = true;
