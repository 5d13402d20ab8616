//! `steer/completion`: a text continued, with and without steering.

use std::convert::Infallible;
use std::pin::pin;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use nanoscope_runtime::{EndReason, Step, Where};
use nanoscope_tokenizer::Tokenizer;
use serde::Serialize;

use super::prompt::{Prompt, token_text};
use super::steer_plan::{OutputType, SteerRequest};
use crate::error::ApiError;
use crate::generation::{End, Event, GenerationHandle};
use crate::http::body;
use crate::state::AppState;

/// What a request gets, in one piece or as it grows: each piece of a stream has the whole text so
/// far, as Neuronpedia sends it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Completion {
    outputs: Vec<CompletionOutput>,
}

#[derive(Debug, Clone, Serialize)]
struct CompletionOutput {
    #[serde(rename = "type")]
    kind: OutputType,
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<TokenLogprobs>>,
}

/// What the model was weighing at one token.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenLogprobs {
    token: String,
    logprob: f32,
    top_logprobs: Vec<Candidate>,
}

#[derive(Debug, Clone, Serialize)]
struct Candidate {
    token: String,
    logprob: f32,
}

/// A generation as far as it has come.
#[derive(Debug, Clone)]
pub(crate) struct PartialOutput {
    pub(crate) kind: OutputType,
    pub(crate) text: String,
    /// Whether it has a token.
    begun: bool,
    /// None if nobody asked.
    pub(crate) logprobs: Option<Vec<TokenLogprobs>>,
}

/// `POST /v1/steer/completion`
pub(crate) async fn completion(
    State(state): State<AppState>,
    body::Json(request): body::Json<SteerRequest<String>>,
) -> Result<Response, ApiError> {
    let text = request.prompt.clone();
    let prompt =
        state.run_blocking(move |state| Prompt::new(&state.served, &text, "prompt")).await?;
    // Every position, as Neuronpedia steers a text.
    let asks = request.asks(&state.served, &state.config.limits, &prompt.ids, &Where::ALL)?;
    let running = state.scheduler.start(asks).await?;
    let texts = PartialOutput::all(&request.types, request.logprobs());
    let answer = |texts: &[PartialOutput]| Completion {
        outputs: texts.iter().map(CompletionOutput::new).collect(),
    };
    respond(state, running, texts, request.stream == Some(true), answer).await
}

impl PartialOutput {
    pub(crate) fn all(kinds: &[OutputType], logprobs: usize) -> Vec<Self> {
        let text = |&kind| Self {
            kind,
            text: String::new(),
            begun: false,
            logprobs: (logprobs > 0).then(Vec::new),
        };
        kinds.iter().map(text).collect()
    }

    fn push(&mut self, tokenizer: &Tokenizer, step: &Step, shown: &str) {
        self.begun = true;
        self.text.push_str(shown);
        if let Some(logprobs) = &mut self.logprobs {
            let top = |&(id, logprob): &(u32, f32)| Candidate {
                token: token_text(tokenizer, id),
                logprob,
            };
            logprobs.push(TokenLogprobs {
                token: token_text(tokenizer, step.token),
                logprob: step.logprob,
                top_logprobs: step.top_logprobs.iter().map(top).collect(),
            });
        }
    }
}

impl CompletionOutput {
    fn new(text: &PartialOutput) -> Self {
        Self { kind: text.kind, output: text.text.clone(), logprobs: text.logprobs.clone() }
    }
}

/// Runs the generations to their ends and answers, in one piece or in a stream of `data:` lines.
pub(crate) async fn respond<T: Serialize + Send + 'static>(
    state: AppState,
    running: Vec<GenerationHandle>,
    mut texts: Vec<PartialOutput>,
    streamed: bool,
    answer: impl Fn(&[PartialOutput]) -> T + Send + 'static,
) -> Result<Response, ApiError> {
    if streamed {
        let pieces = merged(running).scan((texts, false), move |(texts, failed), (at, event)| {
            let piece = match take(&state, &mut texts[at], event) {
                _ if *failed => None,
                Ok(true) => Some(SseEvent::default().json_data(answer(texts))),
                Ok(false) => return std::future::ready(Some(None)),
                Err(error) => {
                    *failed = true;
                    Some(SseEvent::default().json_data(error.json()))
                }
            };
            std::future::ready(piece.map(Result::ok))
        });
        let pieces = pieces.filter_map(|piece| async { piece.map(Ok::<_, Infallible>) });
        return Ok(Sse::new(pieces).into_response());
    }
    let failed = ApiError::internal().status;
    let mut steps = pin!(merged(running));
    while let Some((at, event)) = steps.next().await {
        match take(&state, &mut texts[at], event) {
            // What there is of a text is still worth having, if the fault is not ours.
            Err(error) if error.status != failed && texts[at].begun => {}
            taken => drop(taken?),
        }
    }
    Ok(axum::Json(answer(&texts)).into_response())
}

/// What happens to several generations, with the number of each.
fn merged(running: Vec<GenerationHandle>) -> impl Stream<Item = (usize, Event)> {
    let numbered = running.into_iter().enumerate().map(|(at, running)| {
        let next = move |mut running: GenerationHandle| async move {
            let event = running.next().await?;
            Some(((at, event), running))
        };
        Box::pin(stream::unfold(running, next))
    });
    stream::select_all(numbered)
}

/// Whether the text has grown. An end that nobody asked for is an error.
fn take(state: &AppState, text: &mut PartialOutput, event: Event) -> Result<bool, ApiError> {
    match event {
        Event::Token { step, text: shown } => {
            text.push(state.tokenizer(), &step, &shown);
            Ok(true)
        }
        Event::Started { .. } => Ok(false),
        Event::End { why, .. } => refusal(&why).map_or(Ok(false), Err),
    }
}

/// What is said of an end that is neither the model's nor the request's.
fn refusal(why: &End) -> Option<ApiError> {
    match why {
        End::Failed => Some(ApiError::internal()),
        End::ShuttingDown => Some(ApiError::shutting_down()),
        End::TimeOut => Some(ApiError::timed_out()),
        End::Model(EndReason::NotFinite) => {
            let message = "the activations left the range of float32; steer with less strength";
            Some(ApiError::bad_request(message).with_code("not_finite"))
        }
        End::Model(_) | End::StopString => None,
    }
}
