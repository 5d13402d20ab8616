//! Answers: whole, or as a stream of server-sent events.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, SelectAll, StreamExt};
use serde_json::{Map, Value, json};
use tokio_stream::Stream;

use crate::error::ApiError;
use crate::generation::End;
use crate::http::log::TokenCounter;
use crate::openai::choice::{Choice, ChoiceEvent, finish_reason};
use crate::openai::extension::{Extension, applied};
use crate::openai::logprobs::{CompletionLogprobs, chat_logprobs};
use crate::openai::request::{Delivery, random_u64};
use crate::state::AppState;

/// An answer that is on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) state: AppState,
    pub(crate) endpoint: Endpoint,
    pub(crate) extension: Extension,
    pub(crate) seed: u64,
    /// Whether logprobs are wanted.
    pub(crate) logprobs: bool,
    pub(crate) counter: TokenCounter,
    pub(crate) usage: Usage,
    id: String,
    created: u64,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Completion,
    Chat,
}

/// Tokens that were read and written.
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
            id: format!("{prefix}-{:016x}", random_u64()),
            created: now.as_secs(),
        }
    }

    /// Gives `choices` to the client.
    pub(crate) async fn give(self, choices: Vec<Choice>, delivery: Delivery) -> Response {
        match delivery {
            Delivery::Whole => self.whole(choices).await.into_response(),
            Delivery::Stream | Delivery::StreamWithUsage => {
                let with_usage = delivery == Delivery::StreamWithUsage;
                let alive = KeepAlive::new().interval(Duration::from_secs(10));
                Sse::new(self.chunks(choices, with_usage)).keep_alive(alive).into_response()
            }
        }
    }

    async fn whole(mut self, choices: Vec<Choice>) -> Result<Json<Value>, ApiError> {
        let mut written = Vec::with_capacity(choices.len());
        for choice in choices {
            written.push(self.collect(choice).await?);
        }
        let object = match self.endpoint {
            Endpoint::Completion => "text_completion",
            Endpoint::Chat => "chat.completion",
        };
        let mut answer = self.head(object);
        answer.insert("choices".to_owned(), written.into());
        answer.insert("usage".to_owned(), self.usage.json());
        answer.insert("nanoscope".to_owned(), json!({"seed": self.seed}));
        Ok(Json(answer.into()))
    }

    async fn collect(&mut self, mut choice: Choice) -> Result<Value, ApiError> {
        let mut text = choice.opening.clone();
        let (mut lists, mut entries) = (CompletionLogprobs::default(), Vec::new());
        let mut extension = Map::new();
        extension.insert("tokens".to_owned(), Value::Null);
        if let Some(steered) = choice.steered {
            extension.insert("steered".to_owned(), steered.into());
        }
        let mut tokens = Vec::new();
        let mut finish = "length";
        while let Some(piece) = choice.next().await {
            match piece {
                ChoiceEvent::Started(features) if self.extension.prompt => {
                    let prompt = self.extension.prompt(&self.state, &choice.prompt, &features);
                    extension.insert("prompt".to_owned(), prompt);
                }
                ChoiceEvent::Started(_) => {}
                ChoiceEvent::Token { step, text: more, offset } => {
                    self.count();
                    text.push_str(&more);
                    tokens.push(Value::Object(self.extension.token(&self.state, &step)));
                    match self.endpoint {
                        _ if !self.logprobs => {}
                        Endpoint::Completion => lists.push(self.state.tokenizer(), &step, offset),
                        Endpoint::Chat => {
                            entries.push(chat_logprobs(self.state.tokenizer(), &step))
                        }
                    }
                }
                ChoiceEvent::Ended { why: End::Failed, .. } => return Err(ApiError::internal()),
                ChoiceEvent::Ended { text: more, why, applied, reused } => {
                    text.push_str(&more);
                    finish = finish_reason(&why);
                    if choice.first_of_prompt {
                        self.usage.reused += reused;
                    }
                    extension.append(&mut ending(&why, &applied, reused));
                }
            }
        }
        extension["tokens"] = tokens.into();
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
        written["nanoscope"] = extension.into();
        Ok(written)
    }

    fn chunks(
        self,
        choices: Vec<Choice>,
        with_usage: bool,
    ) -> impl Stream<Item = Result<Event, Infallible>> {
        let pieces = choices.into_iter().map(|choice| {
            stream::unfold((choice, true), |(mut choice, begins)| async move {
                let piece = choice.next().await?;
                let of = Of {
                    begins,
                    index: choice.index,
                    steered: choice.steered,
                    first_of_prompt: choice.first_of_prompt,
                    opening: std::mem::take(&mut choice.opening),
                    prompt: match piece {
                        ChoiceEvent::Started(_) => std::mem::take(&mut choice.prompt),
                        _ => Vec::new(),
                    },
                };
                Some(((of, piece), (choice, false)))
            })
            .boxed()
        });
        let last = if with_usage { Last::Usage } else { Last::Done };
        let flow = (self, pieces.collect::<SelectAll<_>>(), last);
        stream::unfold(flow, move |(mut answer, mut pieces, last)| async move {
            if let Some((of, piece)) = pieces.next().await {
                let chunk = answer.chunk(of, piece, with_usage);
                return Some((Ok(chunk), (answer, pieces, last)));
            }
            let (event, next) = match last {
                Last::Usage => (event(&answer.usage_chunk()), Last::Done),
                Last::Done => (Event::default().data("[DONE]"), Last::Nothing),
                Last::Nothing => return None,
            };
            Some((Ok(event), (answer, pieces, next)))
        })
    }

    fn chunk(&mut self, of: Of, piece: ChoiceEvent, with_usage: bool) -> Event {
        let mut extension = Map::new();
        let mut logprobs = Value::Null;
        let mut finish = Value::Null;
        let text = match piece {
            ChoiceEvent::Started(features) => {
                if self.extension.prompt {
                    let prompt = self.extension.prompt(&self.state, &of.prompt, &features);
                    extension.insert("prompt".to_owned(), prompt);
                }
                String::new()
            }
            ChoiceEvent::Token { step, text, offset } => {
                self.count();
                extension = self.extension.token(&self.state, &step);
                if self.logprobs {
                    logprobs = self.logprobs_of(&step, offset);
                }
                text
            }
            ChoiceEvent::Ended { why: End::Failed, .. } => {
                return event(&ApiError::internal().json());
            }
            ChoiceEvent::Ended { text, why, applied, reused } => {
                if of.first_of_prompt {
                    self.usage.reused += reused;
                }
                extension = ending(&why, &applied, reused);
                finish = finish_reason(&why).into();
                text
            }
        };
        // Empty but for the first chunk, which is the last one too if the text ended in the queue.
        let text = of.opening + &text;
        if of.begins {
            extension.insert("seed".to_owned(), self.seed.into());
        }
        if let Some(steered) = of.steered {
            extension.insert("steered".to_owned(), steered.into());
        }
        let mut choice = json!({"index": of.index});
        match self.endpoint {
            Endpoint::Completion => choice["text"] = text.into(),
            Endpoint::Chat if of.begins => {
                choice["delta"] = json!({"role": "assistant", "content": text});
            }
            // The last chunk of a chat is empty, unless something was held back.
            Endpoint::Chat if !finish.is_null() && text.is_empty() => choice["delta"] = json!({}),
            Endpoint::Chat => choice["delta"] = json!({"content": text}),
        }
        choice["logprobs"] = logprobs;
        choice["finish_reason"] = finish;
        let mut chunk = self.head(self.chunk_object());
        chunk.insert("choices".to_owned(), json!([choice]));
        chunk.insert("nanoscope".to_owned(), extension.into());
        if with_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        event(&chunk.into())
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

/// Of which choice a piece is.
struct Of {
    /// Whether it is the first one.
    begins: bool,
    index: usize,
    steered: Option<bool>,
    first_of_prompt: bool,
    opening: String,
    prompt: Vec<u32>,
}

/// What is left to say when all choices have ended.
#[derive(Debug, Clone, Copy)]
enum Last {
    Usage,
    Done,
    Nothing,
}

/// What is said of an end.
fn ending(why: &End, done: &[nanoscope_runtime::Applied], reused: usize) -> Map<String, Value> {
    let mut extension = Map::new();
    extension.insert("end".to_owned(), why.to_string().into());
    extension.insert("applied".to_owned(), applied(done));
    extension.insert("reused".to_owned(), reused.into());
    extension
}

fn event(chunk: &Value) -> Event {
    Event::default().data(chunk.to_string())
}
