use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::feature_path::find_feature;
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Maximum number of characters of a label and of a search query.
const MAX_CHARS: usize = 500;
/// Default number of search results.
const DEFAULT_LIMIT: usize = 20;
/// Maximum number of search results.
const MAX_LIMIT: usize = 1000;

#[derive(Debug, Deserialize)]
pub(crate) struct SearchRequest {
    #[serde(default)]
    q: String,
    source: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SearchAnswer {
    results: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    source: String,
    hook: String,
    index: u32,
    label: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Label {
    label: String,
}

/// `GET /api/labels`
pub(crate) async fn search(
    State(state): State<AppState>,
    query: Result<Query<SearchRequest>, QueryRejection>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let Query(request) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let message = format!("limit: expected 1 to {MAX_LIMIT}, found {limit}");
        return Err(ApiError::bad_request(message).with_param("limit"));
    }
    if request.q.chars().count() > MAX_CHARS {
        return Err(
            ApiError::bad_request(format!("q: longer than {MAX_CHARS} characters")).with_param("q")
        );
    }
    let hooks = match &request.source {
        Some(id) => {
            let hook = state.served.find_sae(id);
            vec![hook.ok_or_else(|| {
                ApiError::not_found(format!("unknown source `{id}`")).with_param("source")
            })?]
        }
        None => state.served.model.saes().keys().copied().collect(),
    };
    let words: Vec<String> = request.q.split_whitespace().map(str::to_lowercase).collect();
    let mut found: Vec<(usize, Found)> = Vec::new();
    for hook in hooks {
        for (index, label) in state.labels.all(hook) {
            if let Some(distance) = distance(&label, &words) {
                let source = ServedModel::source_id(hook);
                found.push((distance, Found { source, hook: hook.to_string(), index, label }));
            }
        }
    }
    found.sort_by_key(|&(distance, _)| distance);
    found.truncate(limit);
    Ok(Json(SearchAnswer { results: found.into_iter().map(|(_, found)| found).collect() }))
}

/// The distance of `label` from a query: the number of query words that match only part of a word.
/// `None` if a query word does not occur at all.
fn distance(label: &str, words: &[String]) -> Option<usize> {
    let label = label.to_lowercase();
    let whole: Vec<&str> = label.split(|c: char| !c.is_alphanumeric()).collect();
    words.iter().try_fold(0, |sum, word| {
        if whole.contains(&word.as_str()) {
            Some(sum)
        } else {
            label.contains(word.as_str()).then_some(sum + 1)
        }
    })
}

/// `PUT /api/saes/{source}/features/{index}/label`
pub(crate) async fn put(
    State(state): State<AppState>,
    body::Path((source, index)): body::Path<(String, String)>,
    body::Json(request): body::Json<Label>,
) -> Result<Json<Label>, ApiError> {
    let (hook, index) = find_feature(&state.served, (&source, &index))?;
    let label = request.label.trim().to_owned();
    if label.chars().count() > MAX_CHARS {
        let message = format!("label: longer than {MAX_CHARS} characters");
        return Err(ApiError::bad_request(message).with_param("label"));
    }
    if label.chars().any(char::is_control) {
        return Err(
            ApiError::bad_request("label: control characters are not allowed").with_param("label")
        );
    }
    let (labels, new) = (state.labels.clone(), label.clone());
    let set = tokio::task::spawn_blocking(move || labels.set(hook, index, &new));
    match set.await {
        Ok(Ok(())) => Ok(Json(Label { label })),
        Ok(Err(error)) => {
            tracing::error!(%hook, index, error = &error as &dyn std::error::Error, "could not save a label");
            Err(ApiError::internal())
        }
        Err(_) => Err(ApiError::internal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_must_occur_and_whole_words_rank_first() {
        let distance =
            |label, q: &str| distance(label, &q.split(' ').map(str::to_owned).collect::<Vec<_>>());

        assert_eq!(distance("A dog, and its owner", "dog"), Some(0));
        assert_eq!(distance("dogs", "dog"), Some(1));
        assert_eq!(distance("big dogs", "dog big"), Some(1));
        assert_eq!(distance("a cat", "dog"), None);
    }
}
