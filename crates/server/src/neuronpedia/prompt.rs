use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::Plan;
use nanoscope_sae::SparseFeatures;
use nanoscope_tokenizer::{BOS, Tokenizer};
use nanoscope_transformer::TokenBatch;

use super::check::missing;
use crate::error::ApiError;
use crate::served_model::ServedModel;

/// A tokenized prompt, which begins with `<|bos|>` or what the tokenizer puts in its place.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    /// The text of each token.
    pub(crate) tokens: Vec<String>,
    /// The number of tokens before the text: 1 with a `<|bos|>`, 0 of a tokenizer that puts none.
    pub(crate) before: usize,
}

impl Prompt {
    /// Encodes `text`, with one `<|bos|>` at its beginning. With `special`, the spellings of other special
    /// tokens stand for the tokens; otherwise they are characters, which the log notes.
    ///
    /// # Errors
    /// 400 about `field` if the text is empty or exceeds the context.
    pub(crate) fn new(
        served: &ServedModel,
        text: &str,
        special: bool,
        field: &str,
    ) -> Result<Self, ApiError> {
        let tokenizer = tokenizer(served)?;
        if text.trim_start_matches(BOS).is_empty() {
            return Err(
                ApiError::bad_request(format!("{field}: the prompt is empty")).with_param(field)
            );
        }
        let most = served.model.context_len();
        // Longer than any text of that many tokens, so it need not be tokenized.
        if text.len() > served.max_text_bytes() {
            let found = text.len();
            let message = format!(
                "{field}: the prompt has {found} bytes, which exceeds the context of {most} tokens"
            );
            return Err(ApiError::bad_request(message)
                .with_param(field)
                .with_code("context_length_exceeded"));
        }
        let encoded = served.encode_prompt(text, special);
        let ids = encoded.map_err(|error| ApiError::from_error(&error).with_param(field))?;
        if !special {
            note_special_tokens(served, text);
        }
        let found = ids.len();
        if found > most {
            let message = format!(
                "{field}: the prompt has {found} tokens, which exceeds the context of {most}"
            );
            return Err(ApiError::bad_request(message)
                .with_param(field)
                .with_code("context_length_exceeded"));
        }
        let tokens = ids.iter().map(|&id| token_text(tokenizer, id)).collect();
        let begins = ids.first().is_some_and(|&id| Some(id) == tokenizer.bos());
        Ok(Self { tokens, before: usize::from(begins), ids })
    }

    /// Encodes the required field `prompt`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn from_field(
        served: &ServedModel,
        text: Option<&str>,
        special: Option<bool>,
    ) -> Result<Self, ApiError> {
        let text = text.ok_or_else(|| missing("prompt"))?;
        Self::new(served, text, special.unwrap_or(false), "prompt")
    }

    /// The features of each token, for the SAEs at `hooks`.
    pub(crate) fn features(
        &self,
        served: &ServedModel,
        hooks: &[HookPoint],
    ) -> Result<BTreeMap<HookPoint, SparseFeatures>, ApiError> {
        let batch = self.batch()?;
        if let &[hook] = hooks {
            let features = served.model.features_at(hook, &batch);
            return Ok(BTreeMap::from([(hook, features.map_err(|e| ApiError::from_error(&e))?)]));
        }
        let plan = hooks.iter().copied().fold(Plan::new(), Plan::track);
        let run = served.model.run(&batch, &plan).map_err(|error| ApiError::from_error(&error))?;
        Ok(run.features)
    }

    /// The prompt as a batch of one row.
    pub(crate) fn batch(&self) -> Result<TokenBatch, ApiError> {
        TokenBatch::new(std::slice::from_ref(&self.ids))
            .map_err(|error| ApiError::from_error(&error))
    }

    /// For each token, whether it is a special token.
    pub(crate) fn special(&self, served: &ServedModel) -> Result<Vec<bool>, ApiError> {
        let tokenizer = tokenizer(served)?;
        Ok(self.ids.iter().map(|&id| tokenizer.is_special(id)).collect())
    }
}

/// Logs which special tokens in `text` are read as characters.
pub(crate) fn note_special_tokens(served: &ServedModel, text: &str) {
    let spelled = served.spelled_special_tokens(text);
    if !spelled.is_empty() {
        let tokens = spelled.join(" ");
        tracing::warn!(tokens, "special tokens were read as characters; specialTokens reads them");
    }
}

/// A token's text, in which bytes that are not valid UTF-8 are replaced.
pub(crate) fn token_text(tokenizer: &Tokenizer, id: u32) -> String {
    tokenizer.token_text(id).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// The model's tokenizer.
pub(crate) fn tokenizer(served: &ServedModel) -> Result<&Tokenizer, ApiError> {
    let without = || ApiError::bad_request("the model has no tokenizer, so it cannot read text");
    served.model.tokenizer().ok_or_else(without)
}
