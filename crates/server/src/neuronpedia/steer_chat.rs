//! `steer/completion-chat`: a chat answered, with and without steering.

use axum::extract::State;
use axum::response::Response;
use nanoscope_runtime::Where;
use nanoscope_tokenizer::{Content, Conversation, Message, Role};
use serde::{Deserialize, Serialize};

use super::check::missing;
use super::steer::{PartialOutput, TokenLogprobs, respond};
use super::steer_plan::{OutputType, SteerRequest};
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// One message.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct ChatMessage {
    role: String,
    content: String,
}

#[derive(Debug, Clone, Serialize)]
struct ChatCompletion {
    outputs: Vec<ChatResult>,
    input: ChatResult,
}

/// A conversation as messages and as the model sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatResult {
    chat_template: Vec<ChatMessage>,
    raw: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<OutputType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<TokenLogprobs>>,
}

/// `POST /v1/steer/completion-chat`
pub(crate) async fn completion_chat(
    State(state): State<AppState>,
    body::Json(request): body::Json<SteerRequest<Vec<ChatMessage>>>,
) -> Result<Response, ApiError> {
    let special = request.steer_special_tokens.ok_or_else(|| missing("steerSpecialTokens"))?;
    if !request.reads.is_empty() {
        return Err(
            ApiError::bad_request("reads: no vectors are read off a chat here").with_param("reads")
        );
    }
    if request.is_assistant_axis == Some(true) {
        let message = "isAssistantAxis: there is no such vector for this model";
        return Err(ApiError::bad_request(message).with_param("isAssistantAxis"));
    }
    let messages = request.prompt.clone();
    let prompt = state.run_blocking(move |state| render(state, &messages)).await?;
    let at = if special { Where::ALL } else { Where::TEXT };
    let asks = request.asks(&state.served, &state.config.limits, &prompt, &at)?;
    let running = state.scheduler.start(asks).await?;

    let decode = |served: &ServedModel| served.model.tokenizer().map(|t| t.decode(&prompt));
    let raw = decode(&state.served).and_then(Result::ok).unwrap_or_default();
    let messages = request.prompt.clone();
    let input = ChatResult { chat_template: messages, raw, kind: None, logprobs: None };
    let texts = PartialOutput::all(&request.types, request.logprobs());
    let answer = move |texts: &[PartialOutput]| {
        let outputs = texts.iter().map(|text| input.answered(text)).collect();
        ChatCompletion { outputs, input: input.clone() }
    };
    respond(state, running, texts, request.stream == Some(true), answer).await
}

impl ChatResult {
    /// The conversation with the model's answer.
    fn answered(&self, text: &PartialOutput) -> Self {
        let mut chat_template = self.chat_template.clone();
        chat_template
            .push(ChatMessage { role: "assistant".to_owned(), content: text.text.clone() });
        Self {
            chat_template,
            raw: format!("{}{}", self.raw, text.text),
            kind: Some(text.kind),
            logprobs: text.logprobs.clone(),
        }
    }
}

/// The ids of the conversation, up to the start of the model's answer.
fn render(state: &AppState, messages: &[ChatMessage]) -> Result<Vec<u32>, ApiError> {
    let mut conversation = Conversation { messages: Vec::with_capacity(messages.len()) };
    let mut bytes = 0;
    for (at, message) in messages.iter().enumerate() {
        let role = match message.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" | "model" => Role::Assistant,
            other => {
                let field = format!("prompt[{at}].role");
                let message = format!("{field}: `{other}` is none of system, user and assistant");
                return Err(ApiError::bad_request(message).with_param(field));
            }
        };
        bytes += message.content.len();
        let content = Content::Text(message.content.clone());
        conversation.messages.push(Message { role, content });
    }
    if bytes > state.max_text_bytes() {
        let most = state.served.model.context_len();
        let message = format!("prompt: its {bytes} bytes are more than the model's {most} tokens");
        return Err(ApiError::bad_request(message)
            .with_param("prompt")
            .with_code("context_length_exceeded"));
    }
    if conversation.messages.last().is_none_or(|last| last.role != Role::User) {
        return Err(ApiError::bad_request("prompt: the last message must be the user's")
            .with_param("prompt"));
    }
    let rendered = state.render(&conversation);
    let ids = rendered.map_err(|error| ApiError::from_error(&error).with_param("prompt"))?;
    let most = state.served.model.context_len();
    if ids.len() >= most {
        let found = ids.len();
        let message =
            format!("prompt: the conversation has {found} tokens, which leaves no room in {most}");
        return Err(ApiError::bad_request(message)
            .with_param("prompt")
            .with_code("context_length_exceeded"));
    }
    Ok(ids)
}
