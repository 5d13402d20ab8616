//! `POST /v1/completions`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::generation::Ask;
use crate::http::body::Json;
use crate::http::log::Tally;
use crate::openai::answer::{Answer, Form};
use crate::openai::choice::Choice;
use crate::openai::request::{Wanted, parse_fields};
use crate::state::AppState;

#[derive(Debug, Deserialize)]
struct Fields {
    prompt: Prompt,
    echo: Option<bool>,
    logprobs: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids or a list of such lists"
)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u32>>),
}

impl Prompt {
    /// How many prompts they are.
    fn count(&self) -> usize {
        match self {
            Self::Text(_) | Self::Ids(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::Lists(lists) => lists.len(),
        }
    }
}

const OWN: [&str; 3] = ["prompt", "echo", "logprobs"];
/// As with OpenAI.
const MOST_LOGPROBS: usize = 5;

pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(tally): Extension<Tally>,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let mut wanted = Wanted::read(&body, &OWN, &state)?;
    let fields: Fields = parse_fields(&body)?;
    // It may be large, and the answer may take minutes.
    drop(body);
    let echo = fields.echo.unwrap_or(false);
    if let Some(asked) = fields.logprobs {
        if asked > MOST_LOGPROBS {
            let message = format!("logprobs: {asked} is more than {MOST_LOGPROBS}");
            return Err(ApiError::bad(message).of("logprobs"));
        }
        if echo {
            let message = "echo: the prompt's logprobs are not computed; ask for one of the two";
            return Err(ApiError::bad(message).of("echo"));
        }
    }
    wanted.sampling.top_logprobs = fields.logprobs.unwrap_or(0);
    if wanted.lens.compare && fields.prompt.count() > 1 {
        let message = "nanoscope.compare: one prompt at a time";
        return Err(ApiError::bad(message).of("nanoscope.compare"));
    }
    wanted.check_count(fields.prompt.count(), &state)?;
    let prompts = prompts(&state, fields.prompt).await?;
    let Wanted { sampling, lens, stop, .. } = &wanted;
    let mut answer =
        Answer::new(state.clone(), Form::Completion, lens.clone(), sampling.seed, tally);
    answer.logprobs = fields.logprobs.is_some();
    answer.usage.prompt = prompts.iter().map(|(ids, _)| ids.len()).sum();
    let asks = asks(&wanted, prompts.iter().map(|(ids, _)| ids));
    let running = state.scheduler.start(asks).await?;
    let choices = running.into_iter().enumerate().map(|(index, running)| {
        let (ids, text) = &prompts[index / wanted.n % prompts.len()];
        let mut choice = Choice::new(index, ids.clone(), running, stop);
        choice.steered = lens.compare.then_some(index < wanted.n);
        choice.first_of_prompt = wanted.is_first_of_prompt(index, prompts.len());
        if echo { choice.opening(text.clone()) } else { choice }
    });
    Ok(answer.give(choices.collect(), wanted.delivery).await)
}

/// What is asked of the scheduler: each prompt `n` times; to compare, all of it once more without
/// steering.
pub(crate) fn asks<'p>(
    wanted: &Wanted,
    prompts: impl Iterator<Item = &'p Vec<u32>> + Clone,
) -> Vec<Ask> {
    let steering: &[bool] = if wanted.lens.compare { &[true, false] } else { &[true] };
    let mut asks = Vec::new();
    for &steered in steering {
        for prompt in prompts.clone() {
            for nth in 0..wanted.n {
                let mut sampling = wanted.sampling.clone();
                sampling.seed += nth as u64;
                asks.push(Ask {
                    prompt: prompt.clone(),
                    plan: wanted.lens.plan(steered).clone(),
                    sampling,
                    stop: wanted.stop.clone(),
                    copy: nth > 0,
                });
            }
        }
    }
    asks
}

/// Ids and text of each prompt.
async fn prompts(state: &AppState, prompt: Prompt) -> Result<Vec<(Vec<u32>, String)>, ApiError> {
    let of_prompt = |error: ApiError| error.of("prompt");
    let lists = match prompt {
        Prompt::Text(text) => return encode(state, vec![text]).await.map_err(of_prompt),
        Prompt::Texts(texts) if !texts.is_empty() => {
            return encode(state, texts).await.map_err(of_prompt);
        }
        Prompt::Ids(ids) if !ids.is_empty() => vec![ids],
        Prompt::Lists(lists) if !lists.is_empty() => lists,
        _ => return Err(of_prompt(ApiError::bad("prompt: it is empty"))),
    };
    let decode = |ids: Vec<u32>| {
        let text = state.tokenizer().decode(&ids)?;
        Ok((ids, text))
    };
    lists.into_iter().map(decode).collect::<Result<_, ApiError>>().map_err(of_prompt)
}

/// Puts `<|bos|>` before each text, as models of nanochat's are prompted.
async fn encode(state: &AppState, texts: Vec<String>) -> Result<Vec<(Vec<u32>, String)>, ApiError> {
    let most = state.most_text();
    if let Some(text) = texts.iter().find(|text| text.len() > most) {
        let (found, context) = (text.len(), state.scope.model.context_len());
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
    state.aside(encode).await
}

/// The refusal of a text of `found` bytes, which the context cannot hold however it is divided.
pub(crate) fn too_long(found: usize, context: usize) -> ApiError {
    let message =
        format!("the prompt has {found} bytes, the model's context holds {context} tokens");
    ApiError::bad(message).code("context_length_exceeded")
}
