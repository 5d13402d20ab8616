use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::feature_path::find;
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Characters of a label, and of what is searched for, at most.
const MAX_CHARS: usize = 500;
/// Labels of an answer if nobody says how many, and at most.
const DEFAULT_LIMIT: usize = 20;
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
    let Query(request) = query.map_err(|refused| ApiError::bad_request(refused.body_text()))?;
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let message = format!("limit: it must be 1 to {MAX_LIMIT}, not {limit}");
        return Err(ApiError::bad_request(message).with_param("limit"));
    }
    if request.q.chars().count() > MAX_CHARS {
        return Err(ApiError::bad_request(format!("q: it is longer than {MAX_CHARS} characters"))
            .with_param("q"));
    }
    let hooks = match &request.source {
        Some(id) => {
            let hook = state.served.find_sae(id);
            vec![hook.ok_or_else(|| {
                ApiError::not_found("there is no such source").with_param("source")
            })?]
        }
        None => state.served.model.saes().keys().copied().collect(),
    };
    let words: Vec<String> = request.q.split_whitespace().map(str::to_lowercase).collect();
    let mut found: Vec<(usize, Found)> = Vec::new();
    for hook in hooks {
        for (index, label) in state.labels.of(hook) {
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

/// How far `label` is from `words`: the number of them that are only a part of a word in it. None
/// if one is not in it at all.
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
    let (hook, index) = find(&state.served, (&source, &index))?;
    let label = request.label.trim().to_owned();
    if label.chars().count() > MAX_CHARS {
        let message = format!("label: it is longer than {MAX_CHARS} characters");
        return Err(ApiError::bad_request(message).with_param("label"));
    }
    if label.chars().any(char::is_control) {
        return Err(ApiError::bad_request("label: it has a control character").with_param("label"));
    }
    let (labels, new) = (state.labels.clone(), label.clone());
    let set = tokio::task::spawn_blocking(move || labels.set(hook, index, &new));
    match set.await {
        Ok(Ok(())) => Ok(Json(Label { label })),
        Ok(Err(error)) => {
            tracing::error!(%hook, index, error = &error as &dyn std::error::Error, "a label was not kept");
            Err(ApiError::internal())
        }
        Err(_) => Err(ApiError::internal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_to_be_there_and_whole_words_are_nearer() {
        let distance =
            |label, q: &str| distance(label, &q.split(' ').map(str::to_owned).collect::<Vec<_>>());

        assert_eq!(distance("A dog, and its owner", "dog"), Some(0));
        assert_eq!(distance("dogs", "dog"), Some(1));
        assert_eq!(distance("big dogs", "dog big"), Some(1));
        assert_eq!(distance("a cat", "dog"), None);
    }
}
