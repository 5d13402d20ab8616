//! Rendering of conversations with nanochat's special tokens.

use std::borrow::Cow;

use crate::bpe::Tokenizer;
use crate::conversation::{
    ASSISTANT_END, ASSISTANT_START, BOS, Content, Conversation, Message, OUTPUT_END, OUTPUT_START,
    PYTHON_END, PYTHON_START, Part, Role, USER_END, USER_START,
};
use crate::error::TokenizerError;
use crate::limits::TokenId;
use serde_json::{Map, Value as Json, json};

/// The length to which nanochat truncates a rendered conversation by default, in tokens.
pub const DEFAULT_MAX_TOKENS: usize = 2048;

/// A conversation rendered to ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The ids, starting with [`BOS`].
    pub ids: Vec<TokenId>,
    /// For each id, whether the assistant writes it, so that it counts in the training loss.
    pub mask: Vec<bool>,
}

impl Tokenizer {
    /// Renders a whole conversation, truncated to its first `max_tokens` ids.
    ///
    /// As nanochat's `render_conversation`: a system message is prepended to the first user message,
    /// separated by an empty line; user and assistant take turns, and the user starts. With a family's
    /// tokenizer its chat template decides, and the mask, which a template does not give, is false.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::EmptyConversation`], [`TokenizerError::UnexpectedRole`] or
    /// [`TokenizerError::UnexpectedParts`] for a conversation that nanochat rejects too,
    /// [`TokenizerError::MissingSpecialToken`], and the errors of [`encode`](Self::encode).
    pub fn render_conversation(
        &self,
        conversation: &Conversation,
        max_tokens: usize,
    ) -> Result<Rendered, TokenizerError> {
        if self.is_hugging_face() {
            let mut ids = self.render_with_template(&conversation.messages, false)?;
            ids.truncate(max_tokens);
            let mask = vec![GIVEN; ids.len()];
            return Ok(Rendered { ids, mask });
        }
        self.render_messages(&conversation.messages, max_tokens)
    }

    /// Renders a conversation up to the start of the assistant's answer, for a model to continue.
    /// Nothing is truncated.
    ///
    /// # Errors
    ///
    /// As [`render_conversation`](Self::render_conversation).
    pub fn render_for_answer(
        &self,
        conversation: &Conversation,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        if self.is_hugging_face() {
            return self.render_with_template(&conversation.messages, true);
        }
        let mut ids = self.render_messages(&conversation.messages, usize::MAX)?.ids;
        ids.push(self.required_special(ASSISTANT_START)?);
        Ok(ids)
    }

    /// Renders `messages`, a list of objects with `role` and `content`, as text with the chat template,
    /// as transformers' `apply_chat_template`. `variables` are given to the template besides.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoChatTemplate`] and the errors of
    /// [`ChatTemplate::render`](crate::ChatTemplate::render).
    pub fn render_chat(
        &self,
        messages: &Json,
        add_generation_prompt: bool,
        variables: &Map<String, Json>,
    ) -> Result<String, TokenizerError> {
        let template = self.chat_template().ok_or(TokenizerError::NoChatTemplate)?;
        template.render(messages, add_generation_prompt, variables)
    }

    /// Renders a conversation without its last message, which is the assistant's, and appends the
    /// start of an assistant message for a model to continue.
    ///
    /// As nanochat's `render_for_completion`, truncated at [`DEFAULT_MAX_TOKENS`].
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
        if self.is_hugging_face() {
            return self.render_with_template(before, true);
        }
        let mut ids = self.render_messages(before, DEFAULT_MAX_TOKENS)?.ids;
        ids.push(self.required_special(ASSISTANT_START)?);
        Ok(ids)
    }

    /// Renders the first message of a user as a prompt for the model's answer, as in nanochat's
    /// `chat_cli`: [`BOS`], then [`chat_turn`](Self::chat_turn).
    ///
    /// # Errors
    ///
    /// [`TokenizerError::MissingSpecialToken`] and the errors of [`encode`](Self::encode).
    pub fn chat_prompt(&self, user_text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        if self.is_hugging_face() {
            return self.encode_chat(&json!([message("user", user_text)]), true);
        }
        let mut ids = vec![self.required_special(BOS)?];
        ids.extend(self.chat_turn(user_text)?);
        Ok(ids)
    }

    /// Renders a message of the user, up to the start of the answer, to append to a conversation. The
    /// previous answer has to end with [`ASSISTANT_END`].
    ///
    /// # Errors
    ///
    /// [`TokenizerError::MissingSpecialToken`] and the errors of [`encode`](Self::encode).
    /// With a family's chat template: what it adds to a conversation of one question and its answer,
    /// after the token that ends the answer; [`TokenizerError::TurnsNotAppendable`] if it then writes the
    /// first two messages in another way.
    pub fn chat_turn(&self, user_text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        if self.is_hugging_face() {
            return self.template_turn(user_text);
        }
        let mut ids = vec![self.required_special(USER_START)?];
        ids.extend(self.encode(user_text)?);
        ids.push(self.required_special(USER_END)?);
        ids.push(self.required_special(ASSISTANT_START)?);
        Ok(ids)
    }

    fn render_with_template(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        if messages.is_empty() {
            return Err(TokenizerError::EmptyConversation);
        }
        let written = messages.iter().enumerate().map(|(index, written)| {
            Ok(message(&written.role.to_string(), plain_text(written, index)?))
        });
        let written: Vec<Json> = written.collect::<Result<_, TokenizerError>>()?;
        self.encode_chat(&Json::Array(written), add_generation_prompt)
    }

    /// The template's text holds its own special tokens, the first one of a text included.
    pub(crate) fn encode_chat(
        &self,
        messages: &Json,
        add_generation_prompt: bool,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let text = self.render_chat(messages, add_generation_prompt, &Map::new())?;
        self.encode_with_special_tokens(&text)
    }

    fn template_turn(&self, user_text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let before = [message("user", "a"), message("assistant", "b")];
        let asked = [before[0].clone(), before[1].clone(), message("user", user_text)];
        let before = self.encode_chat(&json!(before), false)?;
        let all = self.encode_chat(&json!(asked), true)?;
        // Up to the end of the answer the model wrote the conversation itself.
        let answered =
            before.iter().rposition(|&id| self.ends_text(id)).map_or(before.len(), |at| at + 1);
        match all.strip_prefix(&before[..answered]) {
            Some(turn) => Ok(turn.to_vec()),
            None => Err(TokenizerError::TurnsNotAppendable),
        }
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

    /// Appends `text`, surrounded by two special tokens if given, all with the same mask.
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

/// A message as a chat template reads it.
pub(crate) fn message(role: &str, content: &str) -> Json {
    json!({"role": role, "content": content})
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

/// Mask of tokens that the model is given.
const GIVEN: bool = false;

/// Mask of tokens that the model writes.
const WRITTEN: bool = true;
