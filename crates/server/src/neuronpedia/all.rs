//! `activation/all`: the features of several SAEs that are strongest on a text.

use std::cmp::Ordering;

use axum::Json;
use axum::extract::State;
use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};

use super::activation::{Batch, by_feature, each, largest};
use super::prompt::Prompt;
use super::{check_model, find_source, list};
use crate::body;
use crate::error::ApiError;
use crate::scope::Scope;
use crate::state::AppState;

/// Features if nobody says how many, and at most; Neuronpedia's.
const RESULTS: usize = 25;
pub(crate) const MOST_RESULTS: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AllRequest {
    prompt: Option<String>,
    prompts: Option<Vec<String>>,
    model: String,
    #[serde(alias = "source_set")]
    source_set: String,
    #[serde(alias = "selected_sources")]
    selected_sources: Vec<String>,
    #[serde(alias = "sort_by_token_indexes")]
    sort_by_token_indexes: Vec<usize>,
    #[serde(alias = "ignore_bos")]
    ignore_bos: bool,
    #[serde(alias = "num_results")]
    num_results: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AllAnswer {
    activations: Vec<Feature>,
    tokens: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Feature {
    source: String,
    index: u32,
    values: Vec<f32>,
    sum_values: f32,
    max_value: f32,
    max_value_index: usize,
}

/// `POST /v1/activation/all`
pub(crate) async fn all(
    State(state): State<AppState>,
    body::Json(request): body::Json<AllRequest>,
) -> Result<Json<AllAnswer>, ApiError> {
    let work = move |scope: &Scope| {
        let hooks = request.hooks(scope)?;
        request.answer(scope, &hooks, &Prompt::of(scope, request.prompt.as_deref())?)
    };
    Ok(Json(state.passes.run(&state.scope, work).await?))
}

/// `POST /v1/activation/all-batch`
pub(crate) async fn all_batch(
    State(state): State<AppState>,
    body::Json(request): body::Json<AllRequest>,
) -> Result<Json<Batch<AllAnswer>>, ApiError> {
    let work = move |scope: &Scope| {
        let hooks = request.hooks(scope)?;
        each(scope, request.prompts.as_deref(), |prompt| request.answer(scope, &hooks, prompt))
    };
    Ok(Json(state.passes.run(&state.scope, work).await?))
}

impl AllRequest {
    /// The SAEs that are meant.
    fn hooks(&self, scope: &Scope) -> Result<Vec<HookPoint>, ApiError> {
        check_model(scope, &self.model, "model")?;
        let of_set = |hook: &HookPoint| Scope::source_set(*hook) == self.source_set;
        let set: Vec<HookPoint> = scope.model.saes().keys().copied().filter(of_set).collect();
        if set.is_empty() {
            let mut known: Vec<String> =
                scope.model.saes().keys().map(|&hook| Scope::source_set(hook)).collect();
            known.sort();
            known.dedup();
            let message = format!(
                "sourceSet: no source set `{}`; there are {}",
                self.source_set,
                list(&known)
            );
            return Err(ApiError::bad(message).of("sourceSet"));
        }
        if self.selected_sources.is_empty() {
            return Ok(set);
        }
        let mut hooks = Vec::new();
        for (at, id) in self.selected_sources.iter().enumerate() {
            let field = format!("selectedSources[{at}]");
            let hook = find_source(scope, id, &field)?;
            if !set.contains(&hook) {
                let message = format!("{field}: `{id}` is not of the set `{}`", self.source_set);
                return Err(ApiError::bad(message).of(field));
            }
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
        Ok(hooks)
    }

    /// The strongest features. Of equal ones the SAE that comes first goes first, then the lower
    /// index; those that are nowhere above 0 are left out.
    fn answer(
        &self,
        scope: &Scope,
        hooks: &[HookPoint],
        prompt: &Prompt,
    ) -> Result<AllAnswer, ApiError> {
        let len = prompt.ids.len();
        if let Some(at) = self.sort_by_token_indexes.iter().find(|&&at| at >= len) {
            let message = format!(
                "sortByTokenIndexes: there is no token {at}, the prompt has {len} with `<|bos|>`"
            );
            return Err(ApiError::bad(message).of("sortByTokenIndexes"));
        }
        let all = prompt.features(scope, hooks)?;
        let mut found = Vec::new();
        for hook in hooks {
            for (index, places) in by_feature(&all[hook], usize::from(self.ignore_bos)) {
                let mut values = vec![0.0; len];
                for (at, value) in places {
                    values[at] = value;
                }
                let (max_value_index, max_value) = largest(&values);
                let sum_values =
                    self.sort_by_token_indexes.iter().fold(0.0, |sum, &at| sum + values[at]);
                let source = Scope::source_id(*hook);
                found.push(Feature {
                    source,
                    index,
                    values,
                    sum_values,
                    max_value,
                    max_value_index,
                });
            }
        }
        let key = |feature: &Feature| {
            if self.sort_by_token_indexes.is_empty() {
                feature.max_value
            } else {
                feature.sum_values
            }
        };
        found.retain(|feature| key(feature) > 0.0);
        found.sort_by(|a, b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
        found.truncate(self.num_results.unwrap_or(RESULTS).min(MOST_RESULTS));
        Ok(AllAnswer { activations: found, tokens: prompt.tokens.clone() })
    }
}
