//! `steer/completion-chat`: answers to a chat with and without steering.

use axum::response::Response;
use nanoscope_runtime::Positions;
use nanoscope_tokenizer::{Content, Conversation, Message, Role};
use serde::{Deserialize, Serialize};

use super::check::missing;
use super::prompt::note_special_tokens;
use super::steer::{PartialOutput, TokenLogprobs, respond};
use super::steer_plan::{OutputType, SteerRequest};
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// A message of a chat.
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

/// A conversation, both as messages and as the text that the model sees.
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
    state: AppState,
    body::Json(request): body::Json<SteerRequest<Vec<ChatMessage>>>,
) -> Result<Response, ApiError> {
    let special = request.steer_special_tokens.ok_or_else(|| missing("steerSpecialTokens"))?;
    if !request.reads.is_empty() {
        return Err(ApiError::bad_request("reads: reading vectors from a chat is not supported")
            .with_param("reads"));
    }
    if request.special_tokens == Some(true) {
        let message = "specialTokens: messages are always read as characters";
        return Err(ApiError::bad_request(message).with_param("specialTokens"));
    }
    if request.is_assistant_axis == Some(true) {
        let message = "isAssistantAxis: this model has no assistant axis vector";
        return Err(ApiError::bad_request(message).with_param("isAssistantAxis"));
    }
    let messages = request.prompt.clone();
    let prompt = state.run_blocking(move |state| render(state, &messages)).await?;
    let at = if special { Positions::ALL } else { Positions::TEXT };
    let requests =
        request.generation_requests(&state.served, &state.config.limits, &prompt, &at)?;
    let generations = state.scheduler.start(requests).await?;

    let decode = |served: &ServedModel| served.model.tokenizer().map(|t| t.decode(&prompt));
    let raw = decode(&state.served).and_then(Result::ok).unwrap_or_default();
    let messages = request.prompt.clone();
    let input = ChatResult { chat_template: messages, raw, kind: None, logprobs: None };
    let texts = PartialOutput::all(&request.types, request.logprobs());
    let answer = move |texts: &[PartialOutput]| {
        let outputs = texts.iter().map(|text| input.answered(text)).collect();
        ChatCompletion { outputs, input: input.clone() }
    };
    respond(state, generations, texts, request.stream == Some(true), answer).await
}

impl ChatResult {
    /// The conversation, followed by the model's answer.
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

/// The token ids of the conversation, up to the start of the model's answer.
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
                let message =
                    format!("{field}: unknown role `{other}` (expected system, user or assistant)");
                return Err(ApiError::bad_request(message).with_param(field));
            }
        };
        bytes += message.content.len();
        note_special_tokens(&state.served, &message.content);
        let content = Content::Text(message.content.clone());
        conversation.messages.push(Message { role, content });
    }
    if bytes > state.max_text_bytes() {
        let most = state.served.model.context_len();
        let message = format!(
            "prompt: the conversation has {bytes} bytes, which exceeds the context of {most} tokens"
        );
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
        let message = format!(
            "prompt: the conversation has {found} tokens, which leaves no room in the context of {most}"
        );
        return Err(ApiError::bad_request(message)
            .with_param("prompt")
            .with_code("context_length_exceeded"));
    }
    Ok(ids)
}
