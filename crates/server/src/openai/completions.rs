//! `POST /v1/completions`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
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
    prompt: RawPrompt,
    echo: Option<bool>,
    logprobs: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids or a list of such lists"
)]
enum RawPrompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u32>>),
}

impl RawPrompt {
    /// The number of prompts.
    fn count(&self) -> usize {
        match self {
            Self::Text(_) | Self::Ids(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::Lists(lists) => lists.len(),
        }
    }
}

/// Parameters of this endpoint only.
const OWN_FIELDS: [&str; 3] = ["prompt", "echo", "logprobs"];
/// Maximum of `logprobs`, as in OpenAI's API.
const MAX_LOGPROBS: usize = 5;

/// `POST /v1/completions`
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(counter): Extension<TokenCounter>,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let mut params = CommonParams::read(&body, &OWN_FIELDS, &state)?;
    let fields: Fields = parse_fields(&body)?;
    // The body may be large, and the answer may take minutes.
    drop(body);
    let echo = fields.echo.unwrap_or(false);
    if let Some(requested) = fields.logprobs {
        if requested > MAX_LOGPROBS {
            let message = format!("logprobs: expected at most {MAX_LOGPROBS}, found {requested}");
            return Err(ApiError::bad_request(message).with_param("logprobs"));
        }
        if echo {
            let message = "echo: cannot be combined with `logprobs`, because the prompt's logprobs are not computed";
            return Err(ApiError::bad_request(message).with_param("echo"));
        }
    }
    params.sampling.top_logprobs = fields.logprobs.unwrap_or(0);
    if params.extension.compare && fields.prompt.count() > 1 {
        let message = "nanoscope.compare: only one prompt is allowed";
        return Err(ApiError::bad_request(message).with_param("nanoscope.compare"));
    }
    params.check_count(fields.prompt.count(), &state)?;
    let prompts = prompts(&state, fields.prompt).await?;
    let prompts = prompts
        .into_iter()
        .map(|(ids, text)| Prompt { ids, opening: if echo { text } else { String::new() } })
        .collect();
    let logprobs = fields.logprobs.is_some();
    respond(state, Endpoint::Completion, &params, prompts, logprobs, counter).await
}

/// The token ids and text of each prompt.
async fn prompts(state: &AppState, prompt: RawPrompt) -> Result<Vec<(Vec<u32>, String)>, ApiError> {
    let of_prompt = |error: ApiError| error.with_param("prompt");
    let lists = match prompt {
        RawPrompt::Text(text) => return encode(state, vec![text]).await.map_err(of_prompt),
        RawPrompt::Texts(texts) if !texts.is_empty() => {
            return encode(state, texts).await.map_err(of_prompt);
        }
        RawPrompt::Ids(ids) if !ids.is_empty() => vec![ids],
        RawPrompt::Lists(lists) if !lists.is_empty() => lists,
        _ => return Err(of_prompt(ApiError::bad_request("prompt: empty"))),
    };
    let decode = |ids: Vec<u32>| {
        let text = state.tokenizer().decode(&ids)?;
        Ok((ids, text))
    };
    lists.into_iter().map(decode).collect::<Result<_, ApiError>>().map_err(of_prompt)
}

/// Encodes texts, with `<|bos|>` before each, as nanochat's models expect.
async fn encode(state: &AppState, texts: Vec<String>) -> Result<Vec<(Vec<u32>, String)>, ApiError> {
    let most = state.max_text_bytes();
    if let Some(text) = texts.iter().find(|text| text.len() > most) {
        let (found, context) = (text.len(), state.served.model.context_len());
        return Err(too_long(found, context));
    }
    let encode = |state: &AppState| {
        let tokenizer = state.tokenizer();
        let encode = |text: String| {
            let mut ids: Vec<u32> = tokenizer.bos().into_iter().collect();
            ids.extend(tokenizer.encode(&text)?);
            Ok((ids, text))
        };
        texts.into_iter().map(encode).collect()
    };
    state.run_blocking(encode).await
}
