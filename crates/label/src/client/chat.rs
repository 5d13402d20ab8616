//! The bodies of requests and answers.

use nanoscope_checkpoint::visible_label;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::prompt::Message;

/// The longest message of an endpoint that an error shows, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// The names of the parameters that an endpoint takes. Newer models of OpenAI's refuse the older ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    has_temperature: bool,
    has_max_tokens: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { has_temperature: true, has_max_tokens: true }
    }
}

impl Dialect {
    /// The body of a request.
    pub(super) fn body(self, model: &str, messages: &[Message], max_tokens: u32) -> Value {
        let mut body = json!({ "model": model, "messages": messages });
        let limit = if self.has_max_tokens { "max_tokens" } else { "max_completion_tokens" };
        body[limit] = max_tokens.into();
        if self.has_temperature {
            body["temperature"] = 0.into();
        }
        body
    }

    /// The dialect to try after an endpoint refused a parameter with this message, if there is another.
    pub(super) fn after(self, message: &str) -> Option<Self> {
        let mut next = self;
        if message.contains("max_completion_tokens") {
            next.has_max_tokens = false;
        }
        if message.contains("temperature") {
            next.has_temperature = false;
        }
        (next != self).then_some(next)
    }
}

/// The numbers of tokens that an endpoint counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of questions.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
}

/// The text of a successful answer, and its usage where the endpoint counts.
///
/// # Errors
/// The defect, if the answer is not a completion of a chat.
pub(super) fn completion(body: &[u8]) -> Result<(String, Usage), String> {
    let completion: Completion = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            let text = message(body);
            if text.is_empty() { error.to_string() } else { text }
        } else {
            "the answer is not JSON".to_owned()
        }
    })?;
    let count = |key: &str| completion.usage[key].as_u64().unwrap_or(0);
    let usage = Usage {
        prompt_tokens: count("prompt_tokens"),
        completion_tokens: count("completion_tokens"),
    };
    let said = completion.choices.into_iter().next().ok_or("it has no choices")?.message;
    // A model that ran out of tokens while it reasoned has said nothing.
    Ok((said.content.unwrap_or_default(), usage))
}

/// The error message in an answer, in one visible line; empty if there is none.
pub(super) fn message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let places = [&value["error"]["message"], &value["error"], &value["message"], &value["detail"]];
    let text = places.into_iter().find_map(Value::as_str).unwrap_or_default();
    visible_label(&text.chars().take(MAX_MESSAGE_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_read_with_and_without_its_usage() {
        let read = |text: &str| completion(text.as_bytes());
        let usage = Usage { prompt_tokens: 7, completion_tokens: 2 };

        let full = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"dogs"},
            "finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;
        assert_eq!(read(full), Ok(("dogs".to_owned(), usage)));
        let bare = r#"{"choices":[{"message":{"content":"dogs"}}]}"#;
        assert_eq!(read(bare), Ok(("dogs".to_owned(), Usage::default())));
        let silent = r#"{"choices":[{"message":{"content":null}}],"usage":{"prompt_tokens":-1}}"#;
        assert_eq!(read(silent), Ok((String::new(), Usage::default())));
    }

    #[test]
    fn other_answers_are_refused_with_what_they_say() {
        for (text, says) in [
            ("<html>", "not JSON"),
            ("", "not JSON"),
            ("{\"choices\":", "not JSON"),
            ("[]", "invalid length"),
            (r#"{"choices":[]}"#, "no choices"),
            (r#"{"choices":[{"text":"dogs"}]}"#, "missing field `message`"),
            (r#"{"choices":[{"message":{"content":7}}]}"#, "invalid type"),
            (r#"{"error":{"message":"no\u001b[2J model"}}"#, "no⟨001B⟩[2J model"),
            (r#"{"error":"overloaded"}"#, "overloaded"),
        ] {
            let error = completion(text.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_parameter_that_is_refused_is_left_out_or_renamed_once() {
        let first = Dialect::default();
        assert_eq!(
            first.body("m", &[], 9),
            json!({"model": "m", "messages": [], "max_tokens": 9, "temperature": 0})
        );
        let second = first.after("Use 'max_completion_tokens' instead.").unwrap();
        let third = second.after("Unsupported value: 'temperature'").unwrap();

        assert_eq!(
            third.body("m", &[], 9),
            json!({"model": "m", "messages": [], "max_completion_tokens": 9})
        );
        assert_eq!(third.after("temperature, max_completion_tokens"), None);
        assert_eq!(first.after("no such model"), None);
    }
}
