//! Parameters that completions and chat completions have in common.

use nanoscope_runtime::Sampling;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::http::body::parse;
use crate::openai::extension::Extension;
use crate::openai::models;
use crate::openai::neutral::{asks_for_nothing, normalize};
use crate::state::AppState;

/// The common parameters of a request.
#[derive(Debug)]
pub(crate) struct CommonParams {
    /// Number of texts per prompt.
    pub(crate) n: usize,
    /// Sampling of a prompt's first text. Each further text adds 1 to the seed.
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) delivery: Delivery,
    pub(crate) extension: Extension,
    /// True if the spellings of special tokens in a prompt stand for the tokens.
    pub(crate) special_tokens: bool,
    /// True if special tokens are left out of the texts.
    pub(crate) skips_special: bool,
}

/// The way an answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    Stream,
    /// A stream whose last chunk reports the usage.
    StreamWithUsage,
}

/// The raw fields. `null` is treated as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    model: Option<String>,
    max_tokens: Option<i128>,
    max_completion_tokens: Option<i128>,
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
    #[serde(alias = "parse_special")]
    special_tokens: Option<bool>,
    skip_special_tokens: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
    /// OpenAI's padding against eavesdroppers, which this server has not.
    #[serde(rename = "include_obfuscation")]
    _include_obfuscation: Option<bool>,
    /// vLLM's usage in every chunk.
    continuous_usage_stats: Option<bool>,
}

/// Parameters that are supported by both endpoints.
const FIELDS: [&str; 17] = [
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
    "special_tokens",
    "parse_special",
    "skip_special_tokens",
    "nanoscope",
];

/// Default number of tokens.
const DEFAULT_MAX_TOKENS: usize = 128;
/// Maximum number of texts per prompt, as in OpenAI's API.
const MAX_N: usize = 128;
/// Maximum number of stop strings.
const MAX_STOPS: usize = 16;
/// Maximum length of a stop string in bytes.
const MAX_STOP_BYTES: usize = 1000;
/// Seeds are below this limit, because JavaScript cannot represent larger integers exactly.
const SEED_LIMIT: u64 = 1 << 53;

impl CommonParams {
    /// Reads the common parameters of `body`, from which it removes those whose value asks for nothing.
    /// `own` names the parameters that only the caller's endpoint has.
    ///
    /// # Errors
    /// 400 about an invalid or unsupported parameter, 404 if the model is unknown.
    pub(crate) fn read(
        body: &mut Map<String, Value>,
        own: &[&str],
        state: &AppState,
    ) -> Result<Self, ApiError> {
        reject_unsupported(body, own)?;
        normalize(body);
        let mut fields: Fields = parse(&*body, "")?;
        if let Some(model) = &fields.model {
            models::check(state, model)?;
        }
        let n = fields.n.unwrap_or(1);
        if !(1..=MAX_N).contains(&n) {
            return Err(ApiError::bad_request(format!("n: expected 1 to {MAX_N}, found {n}"))
                .with_param("n"));
        }
        let options = fields.stream_options.take().unwrap_or_default();
        if options.continuous_usage_stats == Some(true) {
            let field = "stream_options.continuous_usage_stats";
            let message = format!("{field}: not supported");
            return Err(ApiError::bad_request(message).with_param(field));
        }
        let delivery = match (fields.stream, options.include_usage) {
            (Some(true), Some(true)) => Delivery::StreamWithUsage,
            (Some(true), _) => Delivery::Stream,
            (_, Some(true)) => {
                let message = "stream_options: only allowed with `stream`";
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
        let special_tokens = fields.special_tokens.unwrap_or(false);
        let extension = Extension::read(body.get("nanoscope"), &state.served)?;
        let skips_special = fields.skip_special_tokens.unwrap_or(false);
        let stop = stop(fields.stop)?;
        Ok(Self { n, sampling, stop, delivery, extension, special_tokens, skips_special })
    }

    /// Checks that the texts for `prompts` prompts fit into the queue, before anything is allocated for
    /// them.
    ///
    /// # Errors
    /// 400 about the parameter that asks for too many.
    pub(crate) fn check_count(&self, prompts: usize, state: &AppState) -> Result<(), ApiError> {
        let per_prompt = self.n * if self.extension.compare { 2 } else { 1 };
        let field = match (prompts, self.n) {
            (_, 2..) if state.scheduler.check(prompts).is_ok() => "n",
            (2.., _) => "prompt",
            _ => "nanoscope.compare",
        };
        let name_field = |error: ApiError| {
            let message = format!("{field}: {}", error.message);
            ApiError { message, ..error.with_param(field) }
        };
        state.scheduler.check(prompts.saturating_mul(per_prompt)).map_err(name_field)
    }

    /// Returns whether the text at `index` is the first one of its prompt.
    pub(crate) fn is_first_of_prompt(&self, index: usize, prompts: usize) -> bool {
        index.is_multiple_of(self.n) && index < self.n * prompts
    }
}

fn max_tokens(fields: &Fields, state: &AppState) -> Result<usize, ApiError> {
    let most = state.config.limits.max_tokens;
    let (field, requested) = match (fields.max_completion_tokens, fields.max_tokens) {
        (Some(requested), _) => ("max_completion_tokens", requested),
        (None, Some(requested)) => ("max_tokens", requested),
        (None, None) => return Ok(DEFAULT_MAX_TOKENS.min(most)),
    };
    // llama.cpp and LM Studio write -1 for as many as fit.
    if requested == -1 {
        return Ok(most);
    }
    match usize::try_from(requested) {
        Ok(requested) if (0..=most).contains(&requested) => Ok(requested),
        _ => {
            Err(ApiError::bad_request(format!("{field}: expected 0 to {most}, found {requested}"))
                .with_param(field))
        }
    }
}

/// The requested seed, or a random one.
fn seed(requested: Option<u64>) -> Result<u64, ApiError> {
    match requested {
        None => Ok(random_u64() % SEED_LIMIT),
        Some(seed) if seed < SEED_LIMIT => Ok(seed),
        Some(seed) => {
            Err(ApiError::bad_request(format!("seed: expected less than 2^53, found {seed}"))
                .with_param("seed"))
        }
    }
}

/// An unpredictable number.
pub(crate) fn random_u64() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}

fn stop(requested: Option<Stop>) -> Result<Vec<String>, ApiError> {
    let stops = match requested {
        None => Vec::new(),
        Some(Stop::One(stop)) => vec![stop],
        Some(Stop::Several(stops)) => stops,
    };
    // An empty string asks for nothing; it would match everywhere.
    let stops: Vec<String> = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
    let wrong =
        |message: String| Err(ApiError::bad_request(format!("stop: {message}")).with_param("stop"));
    if stops.len() > MAX_STOPS {
        return wrong(format!("at most {MAX_STOPS} strings are allowed, found {}", stops.len()));
    }
    if stops.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
        return wrong(format!("each string may have at most {MAX_STOP_BYTES} bytes"));
    }
    Ok(stops)
}

/// Rejects parameters that are not supported and would change the answer.
fn reject_unsupported(body: &Map<String, Value>, own: &[&str]) -> Result<(), ApiError> {
    for name in body.keys().map(String::as_str) {
        if !(FIELDS.contains(&name) || own.contains(&name) || asks_for_nothing(name, body)) {
            let message = format!("{name}: this parameter is not supported");
            return Err(ApiError::bad_request(message)
                .with_param(name)
                .with_code("unsupported_parameter"));
        }
    }
    Ok(())
}
