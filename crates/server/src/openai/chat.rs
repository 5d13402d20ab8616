//! `POST /v1/chat/completions`.

use std::collections::BTreeSet;

use axum::Extension;
use axum::response::Response;
use nanoscope_tokenizer::{Content, Conversation, Message, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::http::body::{Checked, FromJson, parse};
use crate::http::log::TokenCounter;
use crate::openai::answer::Endpoint;
use crate::openai::neutral::RawFields;
use crate::openai::request::CommonParams;
use crate::openai::respond::{Asked, Prompt, respond, special_note, too_long};
use crate::state::AppState;

#[derive(Debug, Deserialize)]
struct Fields {
    messages: Vec<RawMessage>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
}

/// A message. Other fields that clients send (`name`, `refusal`) are ignored.
#[derive(Debug, Deserialize)]
struct RawMessage {
    role: String,
    content: Option<RawContent>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of parts of type `text`")]
enum RawContent {
    Text(String),
    Parts(Vec<RawPart>),
}

#[derive(Debug, Deserialize)]
struct RawPart {
    r#type: String,
    #[serde(default)]
    text: String,
}

/// Parameters of this endpoint only.
const OWN_FIELDS: [&str; 4] = ["messages", "logprobs", "top_logprobs", "add_special_tokens"];
/// Maximum of `top_logprobs`, as in OpenAI's API.
const MAX_LOGPROBS: usize = 20;

/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    params: CommonParams,
    fields: Fields,
}

impl FromJson for ChatRequest {
    type Raw = RawFields;

    fn from_json(RawFields(mut body): RawFields, state: &AppState) -> Result<Self, ApiError> {
        let params = CommonParams::read(&mut body, &OWN_FIELDS, state)?;
        check_own(&body)?;
        check_tokens(&params)?;
        Ok(Self { params, fields: parse(Value::Object(body), "")? })
    }
}

/// `POST /v1/chat/completions`
pub(crate) async fn create(
    state: AppState,
    Extension(counter): Extension<TokenCounter>,
    Checked(ChatRequest { mut params, fields }): Checked<ChatRequest>,
) -> Result<Response, ApiError> {
    let logprobs = fields.logprobs.unwrap_or(false);
    check_logprobs(logprobs, fields.top_logprobs)?;
    params.sampling.top_logprobs = fields.top_logprobs.unwrap_or(0);
    params.check_count(1, &state)?;
    let (ids, notes) = render(&state, fields.messages).await?;
    let prompts = vec![Prompt { ids, opening: String::new() }];
    let asked = Asked { endpoint: Endpoint::Chat, logprobs, echo: false, notes };
    respond(state, asked, &params, prompts, counter).await
}

fn check_logprobs(logprobs: bool, top: Option<usize>) -> Result<(), ApiError> {
    let wrong = |message: &str| Err(ApiError::bad_request(message).with_param("top_logprobs"));
    match top {
        Some(1..) if !logprobs => wrong("top_logprobs: requires `logprobs` to be true"),
        Some(top) if top > MAX_LOGPROBS => {
            wrong(&format!("top_logprobs: expected at most {MAX_LOGPROBS}, found {top}"))
        }
        _ => Ok(()),
    }
}

/// Checks the common parameters that mean something only for plain prompts.
fn check_own(body: &Map<String, Value>) -> Result<(), ApiError> {
    // vLLM's default for chats, whose template has the special tokens.
    match body.get("add_special_tokens") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(()),
        Some(_) => {
            let message = "add_special_tokens: the chat's template has its special tokens already";
            Err(ApiError::bad_request(message).with_param("add_special_tokens"))
        }
    }
}

fn check_tokens(params: &CommonParams) -> Result<(), ApiError> {
    if params.special_tokens {
        let message = "special_tokens: messages are always read as characters; /v1/completions reads \
                       special tokens";
        return Err(ApiError::bad_request(message).with_param("special_tokens"));
    }
    if params.sampling.max_tokens == 0 {
        let message = "max_tokens: expected 1 or more, found 0";
        return Err(ApiError::bad_request(message).with_param("max_tokens"));
    }
    Ok(())
}

/// Checks that the roles take turns as in nanochat's conversations.
fn check_turns(messages: &[Message]) -> Result<(), ApiError> {
    let skipped = usize::from(messages.first().is_some_and(|first| first.role == Role::System));
    for (at, message) in messages.iter().enumerate().skip(skipped) {
        let expected = if (at - skipped).is_multiple_of(2) { Role::User } else { Role::Assistant };
        if message.role == expected {
            continue;
        }
        let advice = match message.role {
            Role::User => "join messages of the user that follow each other into one",
            Role::Assistant if at == skipped => "the user begins a conversation",
            Role::Assistant => "join messages of the assistant that follow each other into one",
            Role::System => "a system message is only allowed before all others",
        };
        let field = format!("messages[{at}].role");
        let message = format!(
            "{field}: expected {expected}, found {}: in nanochat's conversations user and assistant \
             take turns; {advice}",
            message.role
        );
        return Err(ApiError::bad_request(message).with_param(field));
    }
    Ok(())
}

/// The token ids of the conversation, up to the start of the assistant's answer.
///
/// The second value notes special tokens in the texts.
async fn render(
    state: &AppState,
    messages: Vec<RawMessage>,
) -> Result<(Vec<u32>, Vec<String>), ApiError> {
    let messages: Vec<Message> = messages
        .into_iter()
        .enumerate()
        .map(|(at, message)| read(at, message))
        .collect::<Result<_, _>>()?;
    if messages.last().is_none_or(|last| last.role != Role::User) {
        let message = "messages: the last message must be the user's";
        return Err(ApiError::bad_request(message).with_param("messages"));
    }
    let tokenizer = state.tokenizer();
    // A family's template decides for itself.
    if !tokenizer.is_hugging_face() {
        check_turns(&messages)?;
    }
    let texts = || {
        messages.iter().filter_map(|message| match &message.content {
            Content::Text(text) => Some(text.as_str()),
            Content::Parts(_) => None,
        })
    };
    let (found, most) = (texts().map(str::len).sum(), state.max_text_bytes());
    if found > most {
        let error = too_long(found, state.served.model.context_len());
        return Err(error.with_param("messages"));
    }
    let spelled: BTreeSet<&str> =
        texts().flat_map(|text| tokenizer.special_tokens_in(text)).collect();
    let notes =
        special_note("messages", spelled, "in a chat they always are").into_iter().collect();
    let rendered = state.run_blocking(|state| Ok(state.render(&Conversation { messages })?)).await;
    Ok((rendered.map_err(|error| error.with_param("messages"))?, notes))
}

/// Converts the message at position `at`.
fn read(at: usize, message: RawMessage) -> Result<Message, ApiError> {
    let field = |field: &str| format!("messages[{at}].{field}");
    let wrong = |part: &str, message: String| {
        let field = field(part);
        Err(ApiError::bad_request(format!("{field}: {message}")).with_param(field))
    };
    let role = match message.role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            return wrong(
                "role",
                format!("unknown role `{other}` (expected system, developer, user or assistant)"),
            );
        }
    };
    for (name, calls) in
        [("tool_calls", &message.tool_calls), ("function_call", &message.function_call)]
    {
        let empty = calls
            .as_ref()
            .is_none_or(|calls| calls.is_null() || calls.as_array().is_some_and(Vec::is_empty));
        if !empty {
            return wrong(name, "calls of tools are not supported".to_owned());
        }
    }
    let text = match message.content {
        None => {
            let message = "missing or null; expected a string or a list of parts of type `text`";
            return wrong("content", message.to_owned());
        }
        Some(RawContent::Text(text)) => text,
        Some(RawContent::Parts(parts)) => {
            if let Some(part) = parts.iter().find(|part| part.r#type != "text") {
                return wrong(
                    "content",
                    format!("parts of type `{}` are not supported", part.r#type),
                );
            }
            parts.into_iter().map(|part| part.text).collect()
        }
    };
    Ok(Message { role, content: Content::Text(text) })
}
