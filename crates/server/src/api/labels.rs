use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use nanoscope_checkpoint::label_text;
use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};

use super::feature_path::find_feature;
use crate::error::ApiError;
use crate::http::body;
use crate::labels::Place;
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

#[derive(Debug, Deserialize)]
pub(crate) struct Label {
    label: String,
}

/// A label after a change, and where it is saved.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    label: String,
    saved: Saved,
}

/// The file that edited labels are saved to; null if they are kept in memory only, and then the reason
/// if there is one.
#[derive(Debug, Serialize)]
pub(crate) struct Saved {
    file: Option<String>,
    why_not: Option<String>,
}

/// `GET /api/labels`
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
        return Err(
            ApiError::bad_request(format!("q: longer than {MAX_CHARS} characters")).with_param("q")
        );
    }
    let hooks = match &request.source {
        Some(id) => vec![find_source(&state.served, id)?],
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

pub(crate) fn find_source(served: &ServedModel, id: &str) -> Result<HookPoint, ApiError> {
    let unknown = || ApiError::not_found(format!("unknown source `{id}`")).with_param("source");
    served.find_sae(id).ok_or_else(unknown)
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

/// `GET /api/saes/{source}/labels`: the labels in the format of `labels.json`, as a download.
pub(crate) async fn download(
    state: AppState,
    body::Path(source): body::Path<String>,
) -> Result<Response, ApiError> {
    let hook = find_source(&state.served, &source)?;
    let labels = state.labels.all(hook);
    let json = serde_json::to_vec_pretty(&labels).expect("numbers and strings serialise to JSON");
    let disposition = format!("attachment; filename=\"labels-{hook}.json\"");
    Ok(([(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_DISPOSITION, disposition)], json)
        .into_response())
}

/// `PUT /api/saes/{source}/features/{index}/label`
pub(crate) async fn put(
    state: AppState,
    body::Path((source, index)): body::Path<(String, String)>,
    body::Json(request): body::Json<Label>,
) -> Result<Json<Changed>, ApiError> {
    let (hook, index) = find_feature(&state.served, (&source, &index))?;
    let bad = |what: String| ApiError::bad_request(format!("label: {what}")).with_param("label");
    let label = match request.label.as_str() {
        "" => String::new(),
        label => label_text(label).map_err(|error| bad(error.to_string()))?.to_owned(),
    };
    if label.chars().count() > MAX_CHARS {
        return Err(bad(format!("longer than {MAX_CHARS} characters")));
    }
    let new = label.clone();
    let set = state.run_blocking(move |state| Ok(state.labels.set(hook, index, &new)));
    match set.await? {
        Ok(place) => {
            if let Place::Memory(Some(why)) = &place {
                tracing::warn!(%hook, index, why, "a label is kept in memory only");
            }
            Ok(Json(Changed { label, saved: place.into() }))
        }
        Err(error) => {
            tracing::error!(%hook, index, error = &error as &dyn std::error::Error, "could not save a label");
            Err(ApiError::internal())
        }
    }
}

impl From<Place> for Saved {
    fn from(place: Place) -> Self {
        match place {
            Place::File(path) => Self { file: Some(path.display().to_string()), why_not: None },
            Place::Memory(why_not) => Self { file: None, why_not },
        }
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
