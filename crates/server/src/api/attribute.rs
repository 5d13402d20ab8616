use axum::extract::State;
use axum::response::Response;
use nanoscope_attribute::{Asked, AttributeError, Report, ReportOptions, Rest, parse_token};
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
    State(state): State<AppState>,
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
        let report = Report::new(&attribution, &options, || deadline.go_on());
        let mut report = match report {
            Err(AttributeError::Interrupted) => return Err(interrupted(deadline)),
            other => other.map_err(|error| refuse(&error))?,
        };
        name_causes(&mut report, &of_work);
        Ok(report)
    };
    state.analysis.answer(&state.served, work).await
}

/// Gives the listed features their names.
pub(crate) fn name_causes(report: &mut Report, state: &AppState) {
    report.name_features(|hook, feature| {
        state.prepare_names(hook, &[(feature, 0.0)]);
        state.name(hook, feature)
    });
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
        AttributeError::Token { .. } => "target",
        AttributeError::NeedsToken { .. } => "direct",
        _ => return ApiError::from_error(error),
    };
    ApiError::from_error(error).with_param(param)
}

/// The error of a deadline that is over.
fn interrupted(deadline: &Deadline) -> ApiError {
    match deadline.check() {
        Err(error) => error,
        Ok(()) => ApiError::internal(),
    }
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
        if tokens.len() <= context {
            return Ok(tokens);
        }
        let message = format!("found {} tokens; the context has {context}", tokens.len());
        Err(ApiError::bad_request(message).with_code("context_length_exceeded"))
    }

    fn asked(&self, served: &ServedModel) -> Result<Asked, ApiError> {
        if let Some(feature) = &self.feature {
            if self.target.is_some() || self.contrast.is_some() {
                let message = "feature: cannot be combined with `target` or `contrast`";
                return Err(ApiError::bad_request(message).with_param("feature"));
            }
            let hook = find_source(served, &feature.source)?;
            return Ok(Asked::Feature { hook, feature: feature.index });
        }
        let token = |field: &str, token: &Option<Token>| match token {
            None => Ok(None),
            Some(Token::Id(id)) => Ok(Some(*id)),
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
