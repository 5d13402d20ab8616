//! Tokenizers of families other than nanochat's.

use std::sync::Arc;

use serde_json::json;

use crate::bpe::{Engine, Tokenizer};
use crate::chat_template::ChatTemplate;
use crate::conversation::{ASSISTANT_END, ASSISTANT_START, USER_START};
use crate::error::TokenizerError;
use crate::hugging_face::{Parts, Pieces};
use crate::limits::TokenId;
use crate::render::message;
use crate::special_spellings::SpecialSpellings;

impl Tokenizer {
    /// Reads a `tokenizer.json` of Hugging Face's `tokenizers`: byte-pair encoding of any family, with
    /// its normalizer, pre-tokenizer, added tokens and post-processor. Padding and truncation are left
    /// out.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Json`], [`TokenizerError::UnsupportedPart`], [`TokenizerError::AddedTokenId`],
    /// [`TokenizerError::HuggingFace`], and the errors about patterns and sizes.
    pub fn from_hugging_face_json(json: &str) -> Result<Self, TokenizerError> {
        let Parts { engine, tokens, special_tokens, bos } = Parts::from_json(json)?;
        let is_special =
            |id: &TokenId| special_tokens.binary_search_by_key(id, |&(_, id)| id).is_ok();
        let is_text = |&id: &TokenId| !tokens[id as usize].is_empty() && !engine.is_byte(id);
        let mut ordinary: Vec<TokenId> =
            (0..tokens.len() as TokenId).filter(|id| !is_special(id)).filter(is_text).collect();
        ordinary.sort_by_key(|&id| &tokens[id as usize]);
        Ok(Self {
            pattern: String::new(),
            spellings: SpecialSpellings::new(&special_tokens)?,
            engine: Engine::HuggingFace(Arc::new(engine)),
            ends: Vec::new(),
            chat_template: None,
            tokens,
            ordinary,
            special_tokens,
            document_start: bos,
            bos,
        })
    }

    /// Returns whether this is a family's tokenizer rather than nanochat's.
    pub fn is_hugging_face(&self) -> bool {
        matches!(self.engine, Engine::HuggingFace(_))
    }

    /// Returns the tokenizer with the tokens after which a model has ended its text.
    pub fn with_ends(mut self, ends: Vec<TokenId>) -> Self {
        self.ends = ends;
        self
    }

    /// Returns the tokenizer with another token at the start of a document.
    pub fn with_document_start(mut self, start: Option<TokenId>) -> Self {
        self.document_start = start;
        self
    }

    /// Returns the tokenizer with a chat template.
    pub fn with_chat_template(mut self, template: ChatTemplate) -> Self {
        self.chat_template = Some(Arc::new(template));
        self
    }

    /// The chat template. nanochat's conversations need none, and a family's model without one
    /// completes texts.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_deref()
    }

    /// Returns whether a conversation can be rendered: with the chat template, or as nanochat's.
    pub fn can_chat(&self) -> bool {
        match self.engine {
            Engine::HuggingFace(_) => self.chat_template.is_some(),
            Engine::Tiktoken(_) => {
                [USER_START, ASSISTANT_START].iter().all(|name| self.special(name).is_some())
            }
        }
    }

    /// Id of the token that ends an answer in a conversation: nanochat's [`ASSISTANT_END`], or the one
    /// that a family's chat template writes after an answer (Gemma's is not its `eos_token`).
    pub fn answer_end(&self) -> Option<TokenId> {
        match self.engine {
            Engine::HuggingFace(_) => {
                let answered = [message("user", "a"), message("assistant", "b")];
                let ids = self.encode_chat(&json!(answered), false).unwrap_or_default();
                let written = ids.into_iter().rev().find(|&id| self.ends_text(id));
                written.or(self.ends.first().copied())
            }
            Engine::Tiktoken(_) => self.special(ASSISTANT_END),
        }
    }

    /// The decoding of pieces; `None` if tokens are bytes and nothing else.
    pub(crate) fn text_pieces(&self) -> Option<&Pieces> {
        match &self.engine {
            Engine::HuggingFace(engine) if engine.pieces != Pieces::ByteLevel => {
                Some(&engine.pieces)
            }
            _ => None,
        }
    }

    /// The byte that the token `id` is in place of a piece of text.
    pub(crate) fn fallback_byte(&self, id: TokenId) -> Option<u8> {
        match &self.engine {
            Engine::HuggingFace(engine) if engine.is_byte(id) => {
                self.token_bytes(id)?.first().copied()
            }
            _ => None,
        }
    }
}
