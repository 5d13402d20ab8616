//! `POST /v1/completions`.

use std::collections::BTreeSet;

use axum::Extension;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

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
    prompt: RawPrompt,
    echo: Option<bool>,
    logprobs: Option<usize>,
    add_special_tokens: Option<bool>,
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
const OWN_FIELDS: [&str; 4] = ["prompt", "echo", "logprobs", "add_special_tokens"];
/// Maximum of `logprobs`, as in OpenAI's API.
const MAX_LOGPROBS: usize = 5;

/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    params: CommonParams,
    fields: Fields,
}

impl FromJson for CompletionRequest {
    type Raw = RawFields;

    fn from_json(RawFields(mut body): RawFields, state: &AppState) -> Result<Self, ApiError> {
        let params = CommonParams::read(&mut body, &OWN_FIELDS, state)?;
        Ok(Self { params, fields: parse(Value::Object(body), "")? })
    }
}

/// `POST /v1/completions`
pub(crate) async fn create(
    state: AppState,
    Extension(counter): Extension<TokenCounter>,
    Checked(CompletionRequest { mut params, fields }): Checked<CompletionRequest>,
) -> Result<Response, ApiError> {
    let echo = fields.echo.unwrap_or(false);
    if let Some(requested) = fields.logprobs.filter(|&requested| requested > MAX_LOGPROBS) {
        let message = format!("logprobs: expected at most {MAX_LOGPROBS}, found {requested}");
        return Err(ApiError::bad_request(message).with_param("logprobs"));
    }
    if fields.add_special_tokens == Some(false) {
        let message = "add_special_tokens: a text always begins with <|bos|>; send token ids for another \
                       beginning";
        return Err(ApiError::bad_request(message).with_param("add_special_tokens"));
    }
    params.sampling.top_logprobs = fields.logprobs.unwrap_or(0);
    if params.extension.compare && fields.prompt.count() > 1 {
        let message = "nanoscope.compare: only one prompt is allowed";
        return Err(ApiError::bad_request(message).with_param("nanoscope.compare"));
    }
    params.check_count(fields.prompt.count(), &state)?;
    let special = params.special_tokens;
    let (prompts, notes) = prompts(&state, fields.prompt, special).await?;
    let prompts = prompts
        .into_iter()
        .map(|(ids, text)| Prompt { ids, opening: if echo { text } else { String::new() } })
        .collect();
    let logprobs = fields.logprobs.is_some();
    let asked = Asked { endpoint: Endpoint::Completion, logprobs, echo, notes };
    respond(state, asked, &params, prompts, counter).await
}

/// The token ids and text of each prompt, and notes on special tokens in them.
async fn prompts(
    state: &AppState,
    prompt: RawPrompt,
    special: bool,
) -> Result<(Vec<(Vec<u32>, String)>, Vec<String>), ApiError> {
    let of_prompt = |error: ApiError| error.with_param("prompt");
    let lists = match prompt {
        RawPrompt::Text(text) => {
            return encode(state, vec![text], special).await.map_err(of_prompt);
        }
        RawPrompt::Texts(texts) if !texts.is_empty() => {
            return encode(state, texts, special).await.map_err(of_prompt);
        }
        RawPrompt::Ids(ids) if !ids.is_empty() => vec![ids],
        RawPrompt::Lists(lists) if !lists.is_empty() => lists,
        _ => return Err(of_prompt(ApiError::bad_request("prompt: empty"))),
    };
    let decode = |state: &AppState| {
        let decode = |ids: Vec<u32>| {
            let text = state.tokenizer().decode(&ids)?;
            Ok((ids, text))
        };
        lists.into_iter().map(decode).collect::<Result<_, ApiError>>()
    };
    Ok((state.run_blocking(decode).await.map_err(of_prompt)?, Vec::new()))
}

/// Encodes texts, with one `<|bos|>` before each, as nanochat's models expect.
async fn encode(
    state: &AppState,
    texts: Vec<String>,
    special: bool,
) -> Result<(Vec<(Vec<u32>, String)>, Vec<String>), ApiError> {
    let most = state.max_text_bytes();
    if let Some(text) = texts.iter().find(|text| text.len() > most) {
        let (found, context) = (text.len(), state.served.model.context_len());
        return Err(too_long(found, context));
    }
    let encode = move |state: &AppState| {
        let (mut prompts, mut spelled) = (Vec::with_capacity(texts.len()), BTreeSet::new());
        for text in texts {
            if !special {
                spelled.extend(state.served.spelled_special_tokens(&text));
            }
            let ids = state.served.encode_prompt(&text, special)?;
            if ids.is_empty() {
                let message = format!(
                    "prompt: text {} is empty, and this tokenizer puts no token in front of it",
                    prompts.len()
                );
                return Err(ApiError::bad_request(message));
            }
            prompts.push((ids, text));
        }
        let advice = "`special_tokens: true` reads them as tokens";
        Ok((prompts, special_note("prompt", spelled, advice).into_iter().collect()))
    };
    state.run_blocking(encode).await
}
