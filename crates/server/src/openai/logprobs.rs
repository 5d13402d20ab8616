//! Log probabilities in OpenAI's formats.

use nanoscope_runtime::Step;
use nanoscope_tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::openai::extension::shortest_decimal;
use crate::openai::prompt_score::ScoredToken;

/// The logprobs entry of a token in a chat completion.
pub(crate) fn chat_logprobs(tokenizer: &Tokenizer, step: &Step) -> Value {
    let entry = |id: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        json!({
            "token": String::from_utf8_lossy(bytes),
            "logprob": finite(logprob),
            "bytes": bytes,
        })
    };
    let mut token = entry(step.token_id, step.logprob);
    let top = step.top_logprobs.iter().map(|&(id, logprob)| entry(id, logprob));
    let top: Vec<_> = top.collect();
    token["top_logprobs"] = top.into();
    token
}

/// The logprobs of a completion: parallel lists with one element per token.
#[derive(Debug, Default)]
pub(crate) struct CompletionLogprobs {
    tokens: Vec<String>,
    logprobs: Vec<Value>,
    top: Vec<Value>,
    offsets: Vec<usize>,
}

impl CompletionLogprobs {
    /// Appends a token that follows `offset` characters of text.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, step: &Step, offset: usize) {
        self.push_token(tokenizer, (step.token_id, step.logprob), &step.top_logprobs, offset);
    }

    /// Appends a token of a prompt. Nothing predicts the first one, so its entries are null.
    pub(crate) fn push_scored(
        &mut self,
        tokenizer: &Tokenizer,
        token: &ScoredToken,
        offset: usize,
    ) {
        let Some(logprob) = token.logprob else {
            self.tokens.push(name(tokenizer, token.id));
            self.logprobs.push(Value::Null);
            self.top.push(Value::Null);
            self.offsets.push(offset);
            return;
        };
        self.push_token(tokenizer, (token.id, logprob), &token.top, offset);
    }

    fn push_token(
        &mut self,
        tokenizer: &Tokenizer,
        (id, logprob): (u32, f32),
        top: &[(u32, f32)],
        offset: usize,
    ) {
        let mut top: Map<_, _> = top
            .iter()
            .map(|&(id, logprob)| (name(tokenizer, id), finite(logprob).into()))
            .collect();
        let token = name(tokenizer, id);
        // OpenAI always includes the token itself.
        top.entry(token.clone()).or_insert(finite(logprob).into());
        self.tokens.push(token);
        self.logprobs.push(finite(logprob).into());
        self.top.push(top.into());
        self.offsets.push(offset);
    }

    /// The lists as JSON.
    pub(crate) fn json(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.logprobs,
            "top_logprobs": self.top,
            "text_offset": self.offsets,
        })
    }
}

/// The token's text, its bytes in hexadecimal if they are not valid UTF-8, or its id if it has no text, so that
/// different tokens have different names. A special token such as `<|bos|>` has its spelling as its text.
fn name(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    match str::from_utf8(bytes) {
        Ok("") => format!("token_id:{id}"),
        Ok(text) => text.to_owned(),
        Err(_) => {
            bytes.iter().fold("bytes:".to_owned(), |name, byte| name + &format!("\\x{byte:02x}"))
        }
    }
}

/// Replaces infinity, which JSON cannot represent, by OpenAI's −9999.
fn finite(logprob: f32) -> f64 {
    if logprob.is_finite() { shortest_decimal(logprob) } else { -9999.0 }
}
