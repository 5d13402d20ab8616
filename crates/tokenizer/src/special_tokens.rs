//! Special tokens: in texts, at the start of a document and at the end of a text.

use std::collections::HashSet;

use crate::bpe::{Engine, Tokenizer};
use crate::conversation::BOS;
use crate::error::TokenizerError;
use crate::limits::TokenId;

impl Tokenizer {
    /// Encodes `text`, with the text of a special token as the id of that token. Where several could be
    /// read, the leftmost is, and of those that start there the longest.
    ///
    /// Do not use it for text from people who must not write special tokens.
    ///
    /// # Errors
    ///
    /// The errors of [`encode`](Self::encode), for the text between the special tokens.
    pub fn encode_with_special_tokens(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        if let Engine::HuggingFace(engine) = &self.engine {
            return engine.encode_special(text);
        }
        let mut ids = Vec::new();
        let mut rest = 0;
        for found in self.spellings.find(text) {
            ids.extend(self.encode(&text[rest..found.start])?);
            let (_, id) = self.special_tokens[found.index];
            ids.push(id);
            rest = found.end;
        }
        ids.extend(self.encode(&text[rest..])?);
        Ok(ids)
    }

    /// Names of the special tokens that [`encode_with_special_tokens`] reads in `text`, each once, in
    /// the order of their first places. [`encode`](Self::encode) reads them as plain text.
    ///
    /// [`encode_with_special_tokens`]: Self::encode_with_special_tokens
    pub fn special_tokens_in<'a>(&'a self, text: &str) -> Vec<&'a str> {
        let mut seen = HashSet::new();
        self.spellings
            .find(text)
            .filter(|found| seen.insert(found.index))
            .map(|found| self.special_tokens[found.index].0.as_str())
            .collect()
    }

    /// Encodes `text` as the start of a document: [`BOS`], then the ids of [`encode`](Self::encode).
    /// nanochat's models were trained on documents that start this way. In other families, what the
    /// file's post-processor adds to a text is added: a token in front (Llama, Gemma) or nothing.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::MissingSpecialToken`] if the vocabulary has no [`BOS`], and the errors of
    /// [`encode`](Self::encode).
    pub fn encode_with_bos(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        if let Engine::HuggingFace(engine) = &self.engine {
            return engine.encode_with_added(text);
        }
        let mut ids = vec![self.required_special(BOS)?];
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    /// Id of the special token `name`, such as `<|bos|>`.
    pub fn special(&self, name: &str) -> Option<TokenId> {
        let (_, id) = self.special_tokens.iter().find(|(text, _)| text == name)?;
        Some(*id)
    }

    /// Returns whether `id` is a special token.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.special_tokens.binary_search_by_key(&id, |&(_, special)| special).is_ok()
    }

    /// Names and ids of the special tokens, sorted by id.
    pub fn special_tokens(&self) -> &[(String, TokenId)] {
        &self.special_tokens
    }

    /// Id of the token in front of every text: nanochat's [`BOS`], or what the post-processor of a
    /// family's file puts there.
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// Id of the token that starts a document in training: [`bos`](Self::bos), or where a family puts
    /// nothing in front of a text, the token between documents (GPT-2's `<|endoftext|>`).
    pub fn document_start(&self) -> Option<TokenId> {
        self.document_start
    }

    /// Returns whether a model that chooses `id` has ended its text: nanochat's
    /// [`ASSISTANT_END`](crate::ASSISTANT_END) and [`BOS`], or what a family's files name as the end.
    pub fn ends_text(&self, id: TokenId) -> bool {
        self.ends.contains(&id)
    }

    /// The tokens that [end a text](Self::ends_text).
    pub fn ends(&self) -> &[TokenId] {
        &self.ends
    }

    pub(crate) fn required_special(&self, name: &'static str) -> Result<TokenId, TokenizerError> {
        self.special(name).ok_or(TokenizerError::MissingSpecialToken { name })
    }
}
