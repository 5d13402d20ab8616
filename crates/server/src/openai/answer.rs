//! Responses, either as one JSON object or as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

use axum::Json;
#[cfg(not(target_arch = "wasm32"))]
use axum::response::sse::KeepAlive;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, FuturesUnordered, SelectAll, StreamExt};
use nanoscope_runtime::EndReason;
use serde_json::{Map, Value, json};
use tokio_stream::Stream;
use web_time::{SystemTime, UNIX_EPOCH};

use crate::error::ApiError;
use crate::generation::End;
use crate::http::log::TokenCounter;
use crate::openai::choice::{Choice, ChoiceEvent, finish_reason};
use crate::openai::extension::{Extension, applied_json};
use crate::openai::logprobs::{CompletionLogprobs, chat_logprobs};
use crate::openai::prompt_score::PromptScore;
use crate::openai::request::{Delivery, random_u64};
use crate::state::AppState;

/// A response that is being built.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) state: AppState,
    pub(crate) endpoint: Endpoint,
    pub(crate) extension: Extension,
    pub(crate) seed: u64,
    /// True if logprobs are requested.
    pub(crate) logprobs: bool,
    pub(crate) counter: TokenCounter,
    pub(crate) usage: Usage,
    /// Notes for the client.
    pub(crate) notes: Vec<String>,
    id: String,
    created: u64,
}

/// The endpoint, which determines the response's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Completion,
    Chat,
}

/// Token counts of a response.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) prompt: usize,
    completion: usize,
    reused: usize,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.reused},
        })
    }
}

impl Answer {
    pub(crate) fn new(
        state: AppState,
        endpoint: Endpoint,
        extension: Extension,
        seed: u64,
        counter: TokenCounter,
    ) -> Self {
        let prefix = if endpoint == Endpoint::Chat { "chatcmpl" } else { "cmpl" };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            state,
            endpoint,
            extension,
            seed,
            logprobs: false,
            counter,
            usage: Usage::default(),
            notes: Vec::new(),
            id: format!("{prefix}-{:016x}", random_u64()),
            created: now.as_secs(),
        }
    }

    /// Builds the response from `choices`.
    pub(crate) async fn respond(self, mut choices: Vec<Choice>, delivery: Delivery) -> Response {
        match delivery {
            Delivery::Whole => self.whole(choices).await.into_response(),
            Delivery::Stream | Delivery::StreamWithUsage => {
                // The status can tell that nothing began only until the first event is sent.
                if let Some(Err(error)) = choices
                    .iter_mut()
                    .map(Choice::begin)
                    .collect::<FuturesUnordered<_>>()
                    .next()
                    .await
                {
                    return error.into_response();
                }
                let with_usage = delivery == Delivery::StreamWithUsage;
                let events = Sse::new(self.chunks(choices, with_usage));
                #[cfg(not(target_arch = "wasm32"))]
                let events = events.keep_alive(KeepAlive::new().interval(Duration::from_secs(10)));
                events.into_response()
            }
        }
    }

    /// Waits for all choices and returns one JSON object.
    async fn whole(mut self, mut choices: Vec<Choice>) -> Result<Json<Value>, ApiError> {
        let mut written = Vec::with_capacity(choices.len());
        choices.iter_mut().for_each(Choice::count_until_dropped);
        for choice in &mut choices {
            written.push(self.collect(choice).await?);
        }
        let object = match self.endpoint {
            Endpoint::Completion => "text_completion",
            Endpoint::Chat => "chat.completion",
        };
        let mut answer = self.head(object);
        answer.insert("choices".to_owned(), written.into());
        answer.insert("usage".to_owned(), self.usage.json());
        let mut details = json!({"seed": self.seed});
        if !self.notes.is_empty() {
            details["notes"] = std::mem::take(&mut self.notes).into();
        }
        answer.insert("nanoscope".to_owned(), details);
        Ok(Json(answer.into()))
    }

    /// Waits for all of a choice and returns its JSON.
    async fn collect(&mut self, choice: &mut Choice) -> Result<Value, ApiError> {
        let mut text = choice.opening.clone();
        let (mut lists, mut entries) =
            (self.prompt_logprobs(choice.score.as_deref(), &choice.opening), Vec::new());
        let mut details = Map::new();
        details.insert("tokens".to_owned(), Value::Null);
        if let Some(steered) = choice.steered {
            details.insert("steered".to_owned(), steered.into());
        }
        let mut tokens = Vec::new();
        let mut finish = "length";
        while let Some(choice_event) = choice.next().await {
            match choice_event {
                ChoiceEvent::Started(features) if self.extension.prompt => {
                    let prompt = self.extension.prompt(&self.state, &choice.prompt, &features);
                    details.insert("prompt".to_owned(), prompt);
                }
                ChoiceEvent::Started(_) => {}
                ChoiceEvent::Token { step, text: more, offset, why } => {
                    self.count();
                    text.push_str(&more);
                    let mut token = self.extension.token(&self.state, &step);
                    token.extend(why.map(|why| ("why".to_owned(), why)));
                    tokens.push(Value::Object(token));
                    match self.endpoint {
                        _ if !self.logprobs => {}
                        Endpoint::Completion => lists.push(self.state.tokenizer(), &step, offset),
                        Endpoint::Chat => {
                            entries.push(chat_logprobs(self.state.tokenizer(), &step));
                        }
                    }
                }
                ChoiceEvent::Ended { text: more, why, applied, reused, nll } => {
                    if let Some(error) = why.error(choice.has_text) {
                        return Err(error);
                    }
                    if let Some(score) = choice.score.as_ref().filter(|_| !choice.has_text) {
                        self.push_ending(&mut lists, score, &why, choice.offset);
                    }
                    text.push_str(&more);
                    finish = finish_reason(&why);
                    if choice.first_of_prompt {
                        self.usage.reused += reused;
                    }
                    details.append(&mut end_json(&why, &applied, reused, nll));
                }
            }
        }
        details["tokens"] = tokens.into();
        let logprobs = match self.endpoint {
            _ if !self.logprobs => Value::Null,
            Endpoint::Completion => lists.json(),
            Endpoint::Chat => json!({"content": entries, "refusal": null}),
        };
        let mut written = json!({"index": choice.index});
        match self.endpoint {
            Endpoint::Completion => written["text"] = text.into(),
            Endpoint::Chat => {
                written["message"] = json!({
                    "role": "assistant", "content": text, "refusal": null,
                });
            }
        }
        written["logprobs"] = logprobs;
        written["finish_reason"] = finish.into();
        written["nanoscope"] = details.into();
        Ok(written)
    }

    /// The events of a stream, those of several choices interleaved.
    fn chunks(
        self,
        choices: Vec<Choice>,
        with_usage: bool,
    ) -> impl Stream<Item = Result<Event, Infallible>> {
        let events = choices.into_iter().map(|choice| {
            stream::unfold((choice, true), |(mut choice, begins)| async move {
                let choice_event = choice.next().await?;
                let head = ChunkHead {
                    begins,
                    index: choice.index,
                    score: choice.score.clone(),
                    offset: choice.offset,
                    has_text: choice.has_text,
                    steered: choice.steered,
                    first_of_prompt: choice.first_of_prompt,
                    opening: std::mem::take(&mut choice.opening),
                    prompt: match choice_event {
                        ChoiceEvent::Started(_) => std::mem::take(&mut choice.prompt),
                        _ => Vec::new(),
                    },
                };
                Some(((head, choice_event), (choice, false)))
            })
            .boxed()
        });
        let tail = if with_usage { StreamTail::Usage } else { StreamTail::Done };
        let flow = (self, events.collect::<SelectAll<_>>(), tail);
        stream::unfold(flow, move |(mut answer, mut events, tail)| async move {
            if let Some((head, choice_event)) = events.next().await {
                let chunk = answer.chunk(head, choice_event, with_usage);
                return Some((Ok(chunk), (answer, events, tail)));
            }
            let (event, next) = match tail {
                StreamTail::Usage => (event(&answer.usage_chunk()), StreamTail::Done),
                StreamTail::Done => (Event::default().data("[DONE]"), StreamTail::Nothing),
                StreamTail::Nothing => return None,
            };
            Some((Ok(event), (answer, events, next)))
        })
    }

    /// The chunk for one event of a choice.
    fn chunk(&mut self, head: ChunkHead, choice_event: ChoiceEvent, with_usage: bool) -> Event {
        let mut details = Map::new();
        let mut logprobs = Value::Null;
        let mut finish = Value::Null;
        let text = match choice_event {
            ChoiceEvent::Started(features) => {
                if self.extension.prompt {
                    let prompt = self.extension.prompt(&self.state, &head.prompt, &features);
                    details.insert("prompt".to_owned(), prompt);
                }
                if let Some(score) = head.score.as_deref() {
                    logprobs = self.prompt_logprobs(Some(score), &head.opening).json();
                }
                String::new()
            }
            ChoiceEvent::Token { step, text, offset, why } => {
                self.count();
                details = self.extension.token(&self.state, &step);
                details.extend(why.map(|why| ("why".to_owned(), why)));
                if self.logprobs {
                    logprobs = self.logprobs_of(&step, offset);
                }
                text
            }
            ChoiceEvent::Ended { text, why, applied, reused, nll } => {
                if let Some(error) = why.error(head.has_text) {
                    return event(&error.json());
                }
                if let Some(score) = head.score.as_ref().filter(|_| !head.has_text) {
                    let mut lists = CompletionLogprobs::default();
                    self.push_ending(&mut lists, score, &why, head.offset);
                    logprobs = lists.json();
                }
                if head.first_of_prompt {
                    self.usage.reused += reused;
                }
                details = end_json(&why, &applied, reused, nll);
                finish = finish_reason(&why).into();
                text
            }
        };
        // The opening is empty except in the first chunk, which is also the last one if the generation
        // ended while it was in the queue.
        let text = head.opening + &text;
        if head.begins {
            details.insert("seed".to_owned(), self.seed.into());
            // Once in the answer.
            if !self.notes.is_empty() {
                details.insert("notes".to_owned(), std::mem::take(&mut self.notes).into());
            }
        }
        if let Some(steered) = head.steered {
            details.insert("steered".to_owned(), steered.into());
        }
        let mut choice = json!({"index": head.index});
        match self.endpoint {
            Endpoint::Completion => choice["text"] = text.into(),
            Endpoint::Chat if head.begins => {
                choice["delta"] = json!({"role": "assistant", "content": text});
            }
            // The last chunk of a chat is empty, unless it has text that was held back.
            Endpoint::Chat if !finish.is_null() && text.is_empty() => choice["delta"] = json!({}),
            Endpoint::Chat => choice["delta"] = json!({"content": text}),
        }
        choice["logprobs"] = logprobs;
        choice["finish_reason"] = finish;
        let mut chunk = self.head(self.chunk_object());
        chunk.insert("choices".to_owned(), json!([choice]));
        chunk.insert("nanoscope".to_owned(), details.into());
        if with_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        event(&chunk.into())
    }

    /// The lists of a prompt's tokens; empty if they are not echoed with log probabilities.
    fn prompt_logprobs(&self, score: Option<&PromptScore>, opening: &str) -> CompletionLogprobs {
        let (mut lists, tokenizer) = (CompletionLogprobs::default(), self.state.tokenizer());
        if let Some(score) = score {
            for (token, offset) in score.tokens.iter().zip(score.offsets(tokenizer, opening)) {
                lists.push_scored(tokenizer, token, offset);
            }
        }
        lists
    }

    /// Appends the token with which a text ended at once. It is not part of the text, but a client that
    /// scores a prompt with one more token counts on it, as in OpenAI's API.
    fn push_ending(
        &self,
        lists: &mut CompletionLogprobs,
        score: &PromptScore,
        why: &End,
        offset: usize,
    ) {
        if let End::Model(EndReason::Stop { token }) = why
            && let Some(token) = score.special(*token)
        {
            lists.push_scored(self.state.tokenizer(), token, offset);
        }
    }

    fn logprobs_of(&self, step: &nanoscope_runtime::Step, offset: usize) -> Value {
        let tokenizer = self.state.tokenizer();
        match self.endpoint {
            Endpoint::Completion => {
                let mut lists = CompletionLogprobs::default();
                lists.push(tokenizer, step, offset);
                lists.json()
            }
            Endpoint::Chat => json!({"content": [chat_logprobs(tokenizer, step)], "refusal": null}),
        }
    }

    fn usage_chunk(&self) -> Value {
        let mut chunk = self.head(self.chunk_object());
        chunk.insert("choices".to_owned(), json!([]));
        chunk.insert("usage".to_owned(), self.usage.json());
        chunk.into()
    }

    fn chunk_object(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Completion => "text_completion",
            Endpoint::Chat => "chat.completion.chunk",
        }
    }

    fn head(&self, object: &str) -> Map<String, Value> {
        let mut head = Map::new();
        head.insert("id".to_owned(), self.id.as_str().into());
        head.insert("object".to_owned(), object.into());
        head.insert("created".to_owned(), self.created.into());
        head.insert("model".to_owned(), self.state.served.name.as_str().into());
        head
    }

    fn count(&mut self) {
        self.usage.completion += 1;
        self.counter.count();
    }
}

/// The choice that a chunk belongs to.
struct ChunkHead {
    /// True for the first chunk of the choice.
    begins: bool,
    index: usize,
    score: Option<Arc<PromptScore>>,
    /// Number of characters so far.
    offset: usize,
    /// True if there was a token before.
    has_text: bool,
    steered: Option<bool>,
    first_of_prompt: bool,
    opening: String,
    prompt: Vec<u32>,
}

/// The events that remain when all choices have ended.
#[derive(Debug, Clone, Copy)]
enum StreamTail {
    Usage,
    Done,
    Nothing,
}

/// The `nanoscope` object of the end of a text.
fn end_json(
    why: &End,
    done: &[nanoscope_runtime::InterventionReport],
    reused: usize,
    nll: Option<f64>,
) -> Map<String, Value> {
    let mut details = Map::new();
    details.insert("end".to_owned(), why.to_string().into());
    details.insert("applied".to_owned(), applied_json(done));
    details.insert("reused".to_owned(), reused.into());
    if let Some(nll) = nll {
        // Four decimals are more than two texts can be compared by.
        let nll = (nll * 1e4).round() / 1e4;
        details.insert("fluency".to_owned(), json!({"nll": nll}));
    }
    details
}

fn event(chunk: &Value) -> Event {
    Event::default().data(chunk.to_string())
}
