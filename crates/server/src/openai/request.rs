//! What requests for completions and for chat have in common.

use std::hash::{BuildHasher, RandomState};

use nanoscope_runtime::Sampling;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::http::body::parse;
use crate::openai::extension::Extension;
use crate::openai::models;
use crate::state::AppState;

/// How a text is wanted, whatever it goes on from.
#[derive(Debug)]
pub(crate) struct CommonParams {
    /// Texts for each prompt.
    pub(crate) n: usize,
    /// That of the first; its seed counts up from one text to the next.
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) delivery: Delivery,
    pub(crate) extension: Extension,
}

/// How an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    Stream,
    /// A stream with a last chunk that says what was used.
    StreamWithUsage,
}

/// The fields; null is as good as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    model: Option<String>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Option<Stop>,
    n: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

const FIELDS: [&str; 14] = [
    "model",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "n",
    "stream",
    "stream_options",
    "nanoscope",
];

/// Fields of OpenAI's that change nothing in the text.
const IGNORED_FIELDS: [&str; 9] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "parallel_tool_calls",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "verbosity",
];

/// Tokens where a request does not say how many.
const MAX_TOKENS: usize = 128;
/// Texts for one prompt, as with OpenAI.
const MAX_N: usize = 128;
/// Stop strings, and the bytes of each.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1000;
/// The first seed that JSON's numbers, as JavaScript has them, cannot tell from its neighbours.
const SEED_LIMIT: u64 = 1 << 53;

impl CommonParams {
    /// Reads what is common; `own` are the fields that the caller reads.
    pub(crate) fn read(
        body: &Map<String, Value>,
        own: &[&str],
        state: &AppState,
    ) -> Result<Self, ApiError> {
        refuse_what_we_lack(body, own)?;
        let fields: Fields = parse_fields(body)?;
        if let Some(model) = &fields.model {
            models::check(state, model)?;
        }
        let n = fields.n.unwrap_or(1);
        if !(1..=MAX_N).contains(&n) {
            return Err(
                ApiError::bad_request(format!("n: {n} is not in 1..={MAX_N}")).with_param("n")
            );
        }
        let delivery = match (fields.stream, &fields.stream_options) {
            (Some(true), Some(StreamOptions { include_usage: Some(true) })) => {
                Delivery::StreamWithUsage
            }
            (Some(true), _) => Delivery::Stream,
            (_, Some(_)) => {
                let message = "stream_options: only a stream has them";
                return Err(ApiError::bad_request(message).with_param("stream_options"));
            }
            _ => Delivery::Whole,
        };
        let sampling = Sampling {
            temperature: fields.temperature.unwrap_or(1.0),
            top_k: fields.top_k,
            top_p: fields.top_p,
            seed: seed(fields.seed)?,
            max_tokens: max_tokens(&fields, state)?,
            frequency_penalty: fields.frequency_penalty.unwrap_or(0.0),
            presence_penalty: fields.presence_penalty.unwrap_or(0.0),
            ..Sampling::default()
        };
        let extension = Extension::read(body.get("nanoscope"), &state.served)?;
        Ok(Self { n, sampling, stop: stop(fields.stop)?, delivery, extension })
    }

    /// Checks that the texts for `prompts` prompts can be had at once, before anything is made for
    /// each of them.
    pub(crate) fn check_count(&self, prompts: usize, state: &AppState) -> Result<(), ApiError> {
        let for_each = self.n * if self.extension.compare { 2 } else { 1 };
        let field = match (prompts, self.n) {
            (_, 2..) if state.scheduler.check(prompts).is_ok() => "n",
            (2.., _) => "prompt",
            _ => "nanoscope.compare",
        };
        let wrong = |error: ApiError| {
            let message = format!("{field}: {}", error.message);
            ApiError { message, ..error.with_param(field) }
        };
        state.scheduler.check(prompts.saturating_mul(for_each)).map_err(wrong)
    }

    /// Whether the text at `index` is the first that is asked for after its prompt.
    pub(crate) fn is_first_of_prompt(&self, index: usize, prompts: usize) -> bool {
        index.is_multiple_of(self.n) && index < self.n * prompts
    }
}

/// Reads a `T` out of the body's fields.
pub(crate) fn parse_fields<T: serde::de::DeserializeOwned>(
    body: &Map<String, Value>,
) -> Result<T, ApiError> {
    parse(&Value::Object(body.clone()), "")
}

fn max_tokens(fields: &Fields, state: &AppState) -> Result<usize, ApiError> {
    let most = state.config.limits.max_tokens;
    let (field, asked) = match (fields.max_completion_tokens, fields.max_tokens) {
        (Some(asked), _) => ("max_completion_tokens", asked),
        (None, Some(asked)) => ("max_tokens", asked),
        (None, None) => return Ok(MAX_TOKENS.min(most)),
    };
    match usize::try_from(asked) {
        Ok(asked) if (1..=most).contains(&asked) => Ok(asked),
        _ => Err(ApiError::bad_request(format!("{field}: {asked} is not in 1..={most}"))
            .with_param(field)),
    }
}

/// The seed that is asked for, or one by chance.
fn seed(asked: Option<u64>) -> Result<u64, ApiError> {
    match asked {
        None => Ok(random_u64() % SEED_LIMIT),
        Some(seed) if seed < SEED_LIMIT => Ok(seed),
        Some(seed) => {
            Err(ApiError::bad_request(format!("seed: {seed} is not below 2^53")).with_param("seed"))
        }
    }
}

/// A number that nobody knows before.
pub(crate) fn random_u64() -> u64 {
    // The standard library keys its hash maps with random numbers of the system.
    RandomState::new().hash_one(0)
}

fn stop(asked: Option<Stop>) -> Result<Vec<String>, ApiError> {
    let stops = match asked {
        None => Vec::new(),
        Some(Stop::One(stop)) => vec![stop],
        Some(Stop::Several(stops)) => stops,
    };
    let wrong =
        |message: String| Err(ApiError::bad_request(format!("stop: {message}")).with_param("stop"));
    if stops.len() > MAX_STOPS {
        return wrong(format!("{} strings are too many, {MAX_STOPS} at most", stops.len()));
    }
    if stops.iter().any(|stop| !(1..=MAX_STOP_BYTES).contains(&stop.len())) {
        return wrong(format!("a string must have 1 to {MAX_STOP_BYTES} bytes"));
    }
    Ok(stops)
}

/// Refuses fields that would change the answer if we had what they ask for.
fn refuse_what_we_lack(body: &Map<String, Value>, own: &[&str]) -> Result<(), ApiError> {
    for (field, value) in body {
        let name = field.as_str();
        if FIELDS.contains(&name) || own.contains(&name) || IGNORED_FIELDS.contains(&name) {
            continue;
        }
        if !asks_nothing(name, value) {
            let message = format!("{name}: this server does not have it");
            return Err(ApiError::bad_request(message)
                .with_param(name)
                .with_code("unsupported_parameter"));
        }
    }
    Ok(())
}

/// Whether a value is the one that leaves things as they are.
fn asks_nothing(field: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    empty
        || match field {
            "tool_choice" | "function_call" => value == "none" || value == "auto",
            "response_format" => value.get("type").is_some_and(|kind| kind == "text"),
            "modalities" => value.as_array().is_some_and(|list| list.iter().all(|m| m == "text")),
            "best_of" => value.as_u64() == Some(1),
            _ => false,
        }
}
