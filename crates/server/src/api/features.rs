use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use nanoscope_index::{Hit, SearchOptions};
use serde::{Deserialize, Serialize};

use super::labels::find_source;
use crate::error::ApiError;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Maximum number of characters of a query.
const MAX_CHARS: usize = 500;
/// Default number of results.
const DEFAULT_LIMIT: usize = 20;
/// Maximum number of results.
const MAX_LIMIT: usize = 1000;

#[derive(Debug, Deserialize)]
pub(crate) struct SearchRequest {
    #[serde(default)]
    q: String,
    source: Option<String>,
    limit: Option<usize>,
}

/// The features that a query finds, best first.
#[derive(Debug, Serialize)]
pub(crate) struct SearchAnswer {
    hits: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    source: String,
    hook: String,
    index: u32,
    /// The label, or an automatic name.
    label: String,
    auto: bool,
    /// The reasons for which it was found.
    why: String,
    score: f32,
    /// The intervention that turns it up by the default share of the norm.
    steer: String,
}

/// `GET /api/features`
pub(crate) async fn search(
    state: AppState,
    query: Result<Query<SearchRequest>, QueryRejection>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let Query(request) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let message = format!("limit: expected 1 to {MAX_LIMIT}, found {limit}");
        return Err(ApiError::bad_request(message).with_param("limit"));
    }
    if request.q.chars().count() > MAX_CHARS {
        let message = format!("q: longer than {MAX_CHARS} characters");
        return Err(ApiError::bad_request(message).with_param("q"));
    }
    let hook = request.source.as_ref().map(|id| find_source(&state.served, id)).transpose()?;
    let of_work = state.clone();
    let work = move |served: &ServedModel| {
        let options = SearchOptions { hook, ..SearchOptions::default() };
        let label = |hook, feature| of_work.labels.get(hook, feature);
        let found = served.search.find(&served.model, &served.names, &request.q, &options, label);
        let mut hits = found.map_err(|error| ApiError::from(&error))?;
        hits.truncate(limit);
        Ok(SearchAnswer { hits: hits.iter().map(|hit| describe(&of_work, hit)).collect() })
    };
    Ok(Json(state.analysis.run(&state.served, work).await?))
}

fn describe(state: &AppState, hit: &Hit) -> Found {
    let &Hit { hook, feature, score, .. } = hit;
    state.prepare_names(hook, &[(feature, 0.0)]);
    let (label, auto) = state.name(hook, feature).unwrap_or_default();
    Found {
        source: ServedModel::source_id(hook),
        hook: hook.to_string(),
        index: feature,
        label,
        auto,
        why: hit.why(),
        score,
        steer: state.served.names.turn_up(hook, feature).to_string(),
    }
}
