//! How likely tokens were, as OpenAI says it.

use nanoscope_runtime::Step;
use nanoscope_tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::openai::extension::shortest_decimal;

/// Of a chat: an entry for each token.
pub(crate) fn chat_logprobs(tokenizer: &Tokenizer, step: &Step) -> Value {
    let entry = |id: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        json!({
            "token": String::from_utf8_lossy(bytes),
            "logprob": finite(logprob),
            "bytes": bytes,
        })
    };
    let mut of_token = entry(step.token, step.logprob);
    let top = likeliest(step).map(|(id, logprob)| entry(id, logprob)).collect::<Vec<_>>();
    of_token["top_logprobs"] = top.into();
    of_token
}

/// Of a completion: lists side by side.
#[derive(Debug, Default)]
pub(crate) struct CompletionLogprobs {
    tokens: Vec<String>,
    logprobs: Vec<Value>,
    top: Vec<Value>,
    offsets: Vec<usize>,
}

impl CompletionLogprobs {
    /// Adds a token that comes after `offset` characters of text.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, step: &Step, offset: usize) {
        let mut top: Map<_, _> = likeliest(step)
            .map(|(id, logprob)| (name(tokenizer, id), finite(logprob).into()))
            .collect();
        let token = name(tokenizer, step.token);
        // The token itself is always among them.
        top.entry(token.clone()).or_insert(finite(step.logprob).into());
        self.tokens.push(token);
        self.logprobs.push(finite(step.logprob).into());
        self.top.push(top.into());
        self.offsets.push(offset);
    }

    pub(crate) fn json(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.logprobs,
            "top_logprobs": self.top,
            "text_offset": self.offsets,
        })
    }
}

fn likeliest(step: &Step) -> impl Iterator<Item = (u32, f32)> {
    step.top_logprobs.iter().copied()
}

/// A token's text. One that is no text on its own is written as its bytes, so that no two tokens
/// have one name.
fn name(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            bytes.iter().fold("bytes:".to_owned(), |name, byte| name + &format!("\\x{byte:02x}"))
        }
    }
}

/// JSON has no infinity; OpenAI writes this.
fn finite(logprob: f32) -> f64 {
    if logprob.is_finite() { shortest_decimal(logprob) } else { -9999.0 }
}
