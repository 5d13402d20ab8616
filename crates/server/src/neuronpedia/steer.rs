//! `steer/completion`: completions of a text with and without steering.

use std::convert::Infallible;
use std::pin::pin;

use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use nanoscope_runtime::{Positions, Step};
use nanoscope_tokenizer::Tokenizer;
use serde::Serialize;

use super::prompt::{Prompt, token_text};
use super::steer_plan::{OutputType, SteerRequest};
use crate::error::ApiError;
use crate::generation::{Event, GenerationHandle};
use crate::http::body;
use crate::state::AppState;

/// The answer to a request. As in Neuronpedia, each event of a stream contains the whole text so far.
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

/// The log probabilities at one token.
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

/// The output of a generation so far.
#[derive(Debug, Clone)]
pub(crate) struct PartialOutput {
    pub(crate) kind: OutputType,
    pub(crate) text: String,
    /// True once there is a token.
    begun: bool,
    /// `None` if not requested.
    pub(crate) logprobs: Option<Vec<TokenLogprobs>>,
}

/// `POST /v1/steer/completion`
pub(crate) async fn completion(
    state: AppState,
    body::Json(request): body::Json<SteerRequest<String>>,
) -> Result<Response, ApiError> {
    let (text, special) = (request.prompt.clone(), request.special_tokens.unwrap_or(false));
    let encode = move |state: &AppState| Prompt::new(&state.served, &text, special, "prompt");
    let prompt = state.run_blocking(encode).await?;
    // Neuronpedia steers every position of a text.
    let requests = request.generation_requests(
        &state.served,
        &state.config.limits,
        &prompt.ids,
        &Positions::ALL,
    )?;
    let generations = state.scheduler.start(requests).await?;
    let texts = PartialOutput::all(&request.types, request.logprobs());
    let answer = |texts: &[PartialOutput]| Completion {
        outputs: texts.iter().map(CompletionOutput::new).collect(),
    };
    respond(state, generations, texts, request.stream == Some(true), answer).await
}

impl PartialOutput {
    /// Empty outputs of the given types.
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
                token: token_text(tokenizer, step.token_id),
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

/// Runs the generations and builds the response, either as one object or as a stream of events.
pub(crate) async fn respond<T: Serialize + Send + 'static>(
    state: AppState,
    mut generations: Vec<GenerationHandle>,
    mut texts: Vec<PartialOutput>,
    streamed: bool,
    answer: impl Fn(&[PartialOutput]) -> T + Send + 'static,
) -> Result<Response, ApiError> {
    if streamed {
        // The status can tell that nothing began only until the first event is sent.
        let begun = generations.iter_mut().map(GenerationHandle::begin);
        if let Some(begun) = begun.collect::<FuturesUnordered<_>>().next().await {
            begun?;
        }
        let events =
            merge_events(generations).scan((texts, false), move |(texts, failed), (at, event)| {
                let event_data = match apply_event(&state, &mut texts[at], event) {
                    _ if *failed => None,
                    Ok(true) => Some(SseEvent::default().json_data(answer(texts))),
                    Ok(false) => return std::future::ready(Some(None)),
                    Err(error) => {
                        *failed = true;
                        Some(SseEvent::default().json_data(error.json()))
                    }
                };
                std::future::ready(event_data.map(Result::ok))
            });
        let events = events.filter_map(|event_data| async { event_data.map(Ok::<_, Infallible>) });
        return Ok(Sse::new(events).into_response());
    }
    let mut steps = pin!(merge_events(generations));
    while let Some((at, event)) = steps.next().await {
        match apply_event(&state, &mut texts[at], event) {
            // A text that was cut off is still useful.
            Err(error) if error.retry_after.is_some() && texts[at].begun => {}
            taken => drop(taken?),
        }
    }
    Ok(axum::Json(answer(&texts)).into_response())
}

/// The events of several generations, each with its generation's index.
fn merge_events(generations: Vec<GenerationHandle>) -> impl Stream<Item = (usize, Event)> {
    let numbered = generations.into_iter().enumerate().map(|(at, generation)| {
        let next = move |mut generation: GenerationHandle| async move {
            let event = generation.next().await?;
            Some(((at, event), generation))
        };
        Box::pin(stream::unfold(generation, next))
    });
    stream::select_all(numbered)
}

/// Applies an event and returns whether the text has grown.
///
/// # Errors
/// If the generation ended for a reason that is neither the model's nor the request's.
fn apply_event(state: &AppState, text: &mut PartialOutput, event: Event) -> Result<bool, ApiError> {
    match event {
        Event::Token { step, text: shown } => {
            text.push(state.tokenizer(), &step, &shown);
            Ok(true)
        }
        Event::Started { .. } => Ok(false),
        Event::End { why, .. } => why.error(false).map_or(Ok(false), Err),
    }
}
