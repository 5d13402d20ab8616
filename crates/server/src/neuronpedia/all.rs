//! `activation/all`: the strongest features of several SAEs on a text.

use std::cmp::Ordering;

use axum::Json;
use axum::response::Response;
use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};

use super::activation::{answer_each, argmax, by_feature, encode_all};
use super::check::{check_model, find_source, list};
use super::prompt::Prompt;
use crate::analysis::Deadline;
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Neuronpedia's default number of features.
const DEFAULT_RESULTS: usize = 25;
/// Neuronpedia's maximum number of features.
pub(crate) const MAX_RESULTS: usize = 1000;
/// Maximum number of values in an answer, over all prompts, features and tokens: 128 MB before they
/// are serialised.
const MAX_VALUES: usize = 32_000_000;

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
    #[serde(alias = "special_tokens")]
    special_tokens: Option<bool>,
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
    state: AppState,
    body::Json(request): body::Json<AllRequest>,
) -> Result<Json<AllAnswer>, ApiError> {
    let work = move |served: &ServedModel| {
        let hooks = request.hooks(served)?;
        request.answer(
            served,
            &hooks,
            &Prompt::from_field(served, request.prompt.as_deref(), request.special_tokens)?,
        )
    };
    Ok(Json(state.analysis.run(&state.served, work).await?))
}

/// `POST /v1/activation/all-batch`
pub(crate) async fn all_batch(
    state: AppState,
    body::Json(request): body::Json<AllRequest>,
) -> Result<Response, ApiError> {
    let work = move |served: &ServedModel, deadline: &Deadline| {
        let hooks = request.hooks(served)?;
        let prompts = encode_all(served, request.prompts.as_deref(), request.special_tokens)?;
        check_values(request.results(), prompts.iter().map(|prompt| prompt.ids.len()).sum())?;
        answer_each(&prompts, deadline, |prompt| request.answer(served, &hooks, prompt))
    };
    state.analysis.answer(&state.served, work).await
}

/// Checks that `results` features for each of `tokens` tokens fit into one answer.
fn check_values(results: usize, tokens: usize) -> Result<(), ApiError> {
    if results.saturating_mul(tokens) <= MAX_VALUES {
        return Ok(());
    }
    let message = format!(
        "numResults: {results} features of {tokens} tokens exceed the limit of {MAX_VALUES} values per \
         answer; request fewer features or fewer prompts"
    );
    Err(ApiError::bad_request(message).with_param("numResults"))
}

/// A candidate for the strongest features.
struct RankedFeature {
    key: f32,
    hook: HookPoint,
    index: u32,
    positions: Vec<(usize, f32)>,
}

impl AllRequest {
    fn results(&self) -> usize {
        self.num_results.unwrap_or(DEFAULT_RESULTS).min(MAX_RESULTS)
    }

    /// The requested SAEs.
    fn hooks(&self, served: &ServedModel) -> Result<Vec<HookPoint>, ApiError> {
        check_model(served, &self.model, "model")?;
        let of_set = |hook: &HookPoint| ServedModel::source_set(*hook) == self.source_set;
        let set: Vec<HookPoint> = served.model.saes().keys().copied().filter(of_set).collect();
        if set.is_empty() {
            let mut known: Vec<String> =
                served.model.saes().keys().map(|&hook| ServedModel::source_set(hook)).collect();
            known.sort();
            known.dedup();
            let message = format!(
                "sourceSet: unknown source set `{}`; available: {}",
                self.source_set,
                list(&known)
            );
            return Err(ApiError::bad_request(message).with_param("sourceSet"));
        }
        if self.selected_sources.is_empty() {
            return Ok(set);
        }
        let mut hooks = Vec::new();
        for (at, id) in self.selected_sources.iter().enumerate() {
            let field = format!("selectedSources[{at}]");
            let hook = find_source(served, id, &field)?;
            if !set.contains(&hook) {
                let message = format!("{field}: `{id}` is not in the set `{}`", self.source_set);
                return Err(ApiError::bad_request(message).with_param(field));
            }
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
        Ok(hooks)
    }

    /// The strongest features. Ties are broken by the order of the SAEs, then by the lower index.
    /// Features that are nowhere above 0 are omitted.
    fn answer(
        &self,
        served: &ServedModel,
        hooks: &[HookPoint],
        prompt: &Prompt,
    ) -> Result<AllAnswer, ApiError> {
        let len = prompt.ids.len();
        let chosen = self.chosen(len)?;
        let by_sum = !self.sort_by_token_indexes.is_empty();
        let all = prompt.features(served, hooks)?;
        let mut found = Vec::new();
        let from = if self.ignore_bos { prompt.before } else { 0 };
        for &hook in hooks {
            for (index, positions) in by_feature(&all[&hook], from) {
                // Where the feature is inactive it is 0, which changes neither the sum nor a maximum
                // above 0.
                let key = if by_sum {
                    sum(&positions, &chosen)
                } else {
                    positions.iter().fold(0.0, |largest, &(_, value)| value.max(largest))
                };
                if key > 0.0 {
                    found.push(RankedFeature { key, hook, index, positions });
                }
            }
        }
        found.sort_by(|a, b| b.key.partial_cmp(&a.key).unwrap_or(Ordering::Equal));
        found.truncate(self.results());
        // Expand to dense values only now, because there may be many more features than requested.
        let feature = |RankedFeature { hook, index, positions, .. }: RankedFeature| {
            let mut values = vec![0.0; len];
            for &(at, value) in &positions {
                values[at] = value;
            }
            let (max_value_index, max_value) = argmax(&values);
            let (source, sum_values) = (ServedModel::source_id(hook), sum(&positions, &chosen));
            Feature { source, index, values, sum_values, max_value, max_value_index }
        };
        let found = found.into_iter().map(feature).collect();
        Ok(AllAnswer { activations: found, tokens: prompt.tokens.clone() })
    }

    /// For each of the `len` tokens, whether features are ranked by it.
    fn chosen(&self, len: usize) -> Result<Vec<bool>, ApiError> {
        let mut chosen = vec![false; len];
        for &at in &self.sort_by_token_indexes {
            let why = match chosen.get_mut(at) {
                None => {
                    format!(
                        "token {at} is out of range; the prompt has {len} tokens, including `<|bos|>`"
                    )
                }
                Some(true) => format!("token {at} occurs twice"),
                Some(chosen) => {
                    *chosen = true;
                    continue;
                }
            };
            let message = format!("sortByTokenIndexes: {why}");
            return Err(ApiError::bad_request(message).with_param("sortByTokenIndexes"));
        }
        Ok(chosen)
    }
}

/// The sum of the values at the `chosen` tokens.
fn sum(positions: &[(usize, f32)], chosen: &[bool]) -> f32 {
    positions.iter().filter(|&&(at, _)| chosen[at]).fold(0.0, |sum, &(_, value)| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_bounded_number_of_values() {
        assert!(check_values(MAX_RESULTS, MAX_VALUES / MAX_RESULTS).is_ok());
        assert!(check_values(DEFAULT_RESULTS, 64 * 2048).is_ok());

        let error = check_values(MAX_RESULTS, 64 * 2048).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("numResults"));
        assert!(check_values(MAX_RESULTS, usize::MAX).is_err());
    }
}
