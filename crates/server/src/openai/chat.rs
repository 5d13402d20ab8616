//! `POST /v1/chat/completions`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use nanoscope_tokenizer::{Content, Conversation, Message, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::http::body::Json;
use crate::http::log::TokenCounter;
use crate::openai::answer::Endpoint;
use crate::openai::request::{CommonParams, parse_fields};
use crate::openai::respond::{Prompt, respond, too_long};
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
const OWN_FIELDS: [&str; 3] = ["messages", "logprobs", "top_logprobs"];
/// Maximum of `top_logprobs`, as in OpenAI's API.
const MAX_LOGPROBS: usize = 20;

/// `POST /v1/chat/completions`
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(counter): Extension<TokenCounter>,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let mut params = CommonParams::read(&body, &OWN_FIELDS, &state)?;
    let fields: Fields = parse_fields(&body)?;
    // The body may be large, and the answer may take minutes.
    drop(body);
    let logprobs = fields.logprobs.unwrap_or(false);
    check_logprobs(logprobs, fields.top_logprobs)?;
    params.sampling.top_logprobs = fields.top_logprobs.unwrap_or(0);
    params.check_count(1, &state)?;
    let prompt = render(&state, fields.messages).await?;
    let prompts = vec![Prompt { ids: prompt, opening: String::new() }];
    respond(state, Endpoint::Chat, &params, prompts, logprobs, counter).await
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

/// The token ids of the conversation, up to the start of the assistant's answer.
async fn render(state: &AppState, messages: Vec<RawMessage>) -> Result<Vec<u32>, ApiError> {
    let messages: Vec<Message> = messages
        .into_iter()
        .enumerate()
        .map(|(at, message)| read(at, message))
        .collect::<Result<_, _>>()?;
    if messages.last().is_none_or(|last| last.role != Role::User) {
        let message = "messages: the last message must be the user's";
        return Err(ApiError::bad_request(message).with_param("messages"));
    }
    let texts = messages.iter().filter_map(|message| match &message.content {
        Content::Text(text) => Some(text.len()),
        Content::Parts(_) => None,
    });
    let (found, most) = (texts.sum(), state.max_text_bytes());
    if found > most {
        let error = too_long(found, state.served.model.context_len());
        return Err(error.with_param("messages"));
    }
    let rendered = state.run_blocking(|state| Ok(state.render(&Conversation { messages })?)).await;
    rendered.map_err(|error| error.with_param("messages"))
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
    let text = match message.content {
        None => return wrong("content", "missing".to_owned()),
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
