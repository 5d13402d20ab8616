use std::collections::BTreeMap;

use axum::response::Response;
use nanoscope_attribute::{
    Asked, AttributeError, Attribution, Report, ReportOptions, Rest, parse_token,
};
use nanoscope_hooks::HookPoint;
use serde::Deserialize;

use super::labels::find_source;
use crate::analysis::Deadline;
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Maximum number of features to ablate.
const MAX_EXACT: usize = 200;
/// Default number of listed features.
const DEFAULT_TOP: usize = 20;
/// Maximum number of listed features, and of tokens listed by the lens or as alternatives.
const MAX_TOP: usize = 1000;
const MAX_TOKENS_LISTED: usize = 50;
/// Maximum length in bytes of the text of a token.
const MAX_TOKEN_BYTES: usize = 1000;
/// Maximum size of the attention patterns that a backward pass keeps.
const MAX_PATTERN_BYTES: u128 = 4 << 30;

/// The request of `POST /api/attribute`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttributeRequest {
    prompt: Option<String>,
    tokens: Option<Vec<u32>>,
    /// True if the spellings of special tokens in the prompt stand for the tokens.
    special_tokens: Option<bool>,
    position: Option<usize>,
    target: Option<Token>,
    contrast: Option<Token>,
    feature: Option<Feature>,
    track: Option<Vec<String>>,
    exact: Option<usize>,
    top: Option<usize>,
    lens: Option<usize>,
    alternatives: Option<usize>,
    direct: Option<bool>,
    faithfulness: Option<bool>,
}

/// A token, as its id or its text.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a token, as its text or its id")]
enum Token {
    Id(u32),
    Text(String),
}

/// A feature to explain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    source: String,
    index: usize,
}

/// `POST /api/attribute`
pub(crate) async fn attribute(
    state: AppState,
    body::Json(request): body::Json<AttributeRequest>,
) -> Result<Response, ApiError> {
    let options = request.options()?;
    let of_work = state.clone();
    let work = move |served: &ServedModel, deadline: &Deadline| {
        let tokens = request.tokens(served)?;
        let asked = request.asked(served)?;
        let sources = request.sources(served)?;
        deadline.check()?;
        let attribution = asked
            .attribute(&served.model, &tokens, request.position, sources.as_deref())
            .map_err(|error| refuse(&error))?;
        let mut report = answer(&attribution, &options, deadline)?;
        name_causes(&mut report, &of_work);
        Ok(report)
    };
    state.analysis.answer(&state.served, work).await
}

/// Computes the numbers of `options` until the deadline.
///
/// # Errors
/// 400 if a number cannot be had, or the time is up.
pub(crate) fn answer(
    attribution: &Attribution<'_>,
    options: &ReportOptions,
    deadline: &Deadline,
) -> Result<Report, ApiError> {
    let report = Report::new(attribution, options, || deadline.go_on());
    report.map_err(|error| match (&error, deadline.check()) {
        (AttributeError::Interrupted, Err(ended)) => ended,
        _ => refuse(&error),
    })
}

/// Gives the listed features their names, as far as that takes fractions of a second per SAE.
pub(crate) fn name_causes(report: &mut Report, state: &AppState) {
    let mut by_hook: BTreeMap<HookPoint, Vec<(u32, f32)>> = BTreeMap::new();
    for feature in &report.features {
        by_hook.entry(feature.hook).or_default().push((feature.feature, feature.activation));
    }
    for (hook, features) in by_hook {
        state.prepare_names(hook, &features);
    }
    report.name_features(|hook, feature| state.name(hook, feature));
}

/// Checks that a backward pass through `len` tokens fits into memory: it keeps the attention patterns of every layer.
///
/// # Errors
/// 400 if they are larger than [`MAX_PATTERN_BYTES`].
pub(crate) fn check_memory(served: &ServedModel, len: usize) -> Result<(), ApiError> {
    let shape = &served.model.gpt().config().shape;
    let bytes = (shape.n_layer * shape.n_head * 4) as u128 * (len as u128).pow(2);
    if bytes <= MAX_PATTERN_BYTES {
        return Ok(());
    }
    let message = format!(
        "the gradients of {len} tokens need {} GiB for attention patterns alone, and the limit is {} GiB; \
         ask about an earlier token, or a shorter text",
        bytes >> 30,
        MAX_PATTERN_BYTES >> 30
    );
    Err(ApiError::bad_request(message).with_code("context_length_exceeded"))
}

/// 400 for a question that has no answer.
pub(crate) fn refuse(error: &AttributeError) -> ApiError {
    let param = match error {
        AttributeError::Runtime(error) => return ApiError::from(error),
        AttributeError::NotFinite { .. } | AttributeError::TooLong { .. } => {
            return ApiError::not_finite(error.to_string());
        }
        AttributeError::Position { .. } => "position",
        AttributeError::NoSources { .. }
        | AttributeError::Order { .. }
        | AttributeError::Duplicate { .. } => "track",
        AttributeError::Feature { .. } => "feature",
        AttributeError::SameToken { .. } => "contrast",
        AttributeError::NeedsToken { .. } => "direct",
        _ => return ApiError::from_error(error),
    };
    ApiError::from_error(error).with_param(param)
}

impl AttributeRequest {
    fn options(&self) -> Result<ReportOptions, ApiError> {
        let default = ReportOptions::default();
        let bounded = |field: &str, value: Option<usize>, default: usize, most: usize| {
            let value = value.unwrap_or(default);
            if value <= most {
                return Ok(value);
            }
            let message = format!("{field}: at most {most}, found {value}");
            Err(ApiError::bad_request(message).with_param(field))
        };
        Ok(ReportOptions {
            exact: bounded("exact", self.exact, default.exact, MAX_EXACT)?,
            top: bounded("top", self.top, DEFAULT_TOP, MAX_TOP)?,
            lens: bounded("lens", self.lens, default.lens, MAX_TOKENS_LISTED)?,
            alternatives: bounded(
                "alternatives",
                self.alternatives,
                default.alternatives,
                MAX_TOKENS_LISTED,
            )?,
            direct: self.direct.unwrap_or(false),
            faithfulness: self.faithfulness.unwrap_or(false).then_some(Rest::Zero),
            integrate: None,
        })
    }

    fn tokens(&self, served: &ServedModel) -> Result<Vec<u32>, ApiError> {
        let tokens = match (&self.prompt, &self.tokens) {
            (Some(text), None) => {
                let most = served.max_text_bytes();
                if text.len() > most {
                    let message = format!("prompt: longer than {most} bytes");
                    return Err(ApiError::bad_request(message).with_param("prompt"));
                }
                served.encode_prompt(text, self.special_tokens.unwrap_or(false))?
            }
            (None, Some(tokens)) => tokens.clone(),
            _ => {
                let message = "exactly one of `prompt` and `tokens` must be given";
                return Err(ApiError::bad_request(message));
            }
        };
        let context = served.model.context_len();
        if tokens.len() > context {
            let message = format!("found {} tokens; the context has {context}", tokens.len());
            return Err(ApiError::bad_request(message).with_code("context_length_exceeded"));
        }
        let read = self.position.map_or(tokens.len(), |at| tokens.len().min(at.saturating_add(1)));
        check_memory(served, read)?;
        Ok(tokens)
    }

    fn asked(&self, served: &ServedModel) -> Result<Asked, ApiError> {
        if let Some(feature) = &self.feature {
            if self.lens.unwrap_or(0) > 0 {
                let message = "lens: cannot be combined with `feature`";
                return Err(ApiError::bad_request(message).with_param("lens"));
            }
            if self.target.is_some() || self.contrast.is_some() {
                let message = "feature: cannot be combined with `target` or `contrast`";
                return Err(ApiError::bad_request(message).with_param("feature"));
            }
            let hook = find_source(served, &feature.source)?;
            return Ok(Asked::Feature { hook, feature: feature.index });
        }
        let token = |field: &str, token: &Option<Token>| match token {
            None => Ok(None),
            Some(Token::Id(id)) => {
                let vocab_size = served.model.gpt().config().shape.vocab_size;
                if (*id as usize) < vocab_size {
                    return Ok(Some(*id));
                }
                let message =
                    format!("{field}: token id {id} is outside the vocabulary of {vocab_size}");
                Err(ApiError::bad_request(message).with_param(field))
            }
            Some(Token::Text(text)) if text.len() > MAX_TOKEN_BYTES => {
                let message = format!("{field}: longer than {MAX_TOKEN_BYTES} bytes");
                Err(ApiError::bad_request(message).with_param(field))
            }
            Some(Token::Text(text)) => {
                parse_token(&served.model, text).map(Some).map_err(|error| {
                    ApiError::bad_request(format!("{field}: {error}")).with_param(field)
                })
            }
        };
        Ok(Asked::Token {
            target: token("target", &self.target)?,
            contrast: token("contrast", &self.contrast)?,
        })
    }

    fn sources(&self, served: &ServedModel) -> Result<Option<Vec<HookPoint>>, ApiError> {
        let Some(ids) = &self.track else { return Ok(None) };
        ids.iter().map(|id| find_source(served, id)).collect::<Result<_, _>>().map(Some)
    }
}
