use axum::Json;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::LogitEffect;
use serde::{Serialize, Serializer};

use super::feature_path::find_feature;
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Tokens that a feature promotes most, and as many that it suppresses most.
const EFFECT_TOKENS: usize = 10;
/// Features with the most similar decoder directions.
const NEAREST: usize = 10;

/// Everything known about a feature. Unknown fields are omitted.
#[derive(Debug, Serialize)]
pub(crate) struct FeatureAnswer {
    #[serde(serialize_with = "as_text")]
    hook: HookPoint,
    source: String,
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// The automatic name.
    auto: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    density: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    promoted: Vec<(u32, String, f32)>,
    suppressed: Vec<(u32, String, f32)>,
    nearest: Vec<Near>,
    decoder_norm: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_tokens: Option<Vec<(String, usize)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    examples: Option<Vec<Example>>,
}

/// A feature with a similar decoder direction, the cosine similarity and its name. An automatic name has
/// `true` after it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Near {
    Labelled(u32, f32, String),
    Automatic(u32, f32, String, bool),
}

/// The activations of a feature on a text.
struct Summary {
    density: f64,
    max: f64,
    mean: f64,
    top_tokens: Vec<(String, usize)>,
    examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
struct Example {
    tokens: Vec<String>,
    values: Vec<(usize, f64)>,
    peak: usize,
}

/// `GET /api/saes/{source}/features/{index}`
pub(crate) async fn feature(
    state: AppState,
    body::Path((source, index)): body::Path<(String, String)>,
) -> Result<Json<FeatureAnswer>, ApiError> {
    let (hook, index) = find_feature(&state.served, (&source, &index))?;
    let of_work = state.clone();
    let work = move |served: &ServedModel| describe(served, &of_work, hook, index);
    Ok(Json(state.analysis.run(&state.served, work).await?))
}

/// Collects what the weights, the labels, and the dashboard or the index know about a feature.
fn describe(
    served: &ServedModel,
    state: &AppState,
    hook: HookPoint,
    index: u32,
) -> Result<FeatureAnswer, ApiError> {
    let weights = served.model.feature_weights(hook, &[index as usize], NEAREST);
    let mut weights = weights.map_err(|error| ApiError::from_error(&error))?;
    let weights = weights.pop().expect("one feature was requested");
    let tokenizer = served.model.tokenizer();
    let text = |(id, effect): (u32, f32)| {
        let text = tokenizer.and_then(|tokenizer| tokenizer.token_text(id));
        (id, text.map_or_else(|| format!("<{id}>"), std::borrow::Cow::into_owned), effect)
    };
    let LogitEffect { promoted, suppressed } = match &weights.effects {
        Ok(effects) => LogitEffect::from_effects(effects, EFFECT_TOKENS),
        // The SAE does not write to the residual stream.
        Err(_) => LogitEffect { promoted: Vec::new(), suppressed: Vec::new() },
    };
    let neighbours: Vec<(u32, f32)> = weights.nearest.clone();
    state.prepare_names(hook, &neighbours);
    let near = |(other, cosine)| match state.name(hook, other) {
        Some((label, false)) => Near::Labelled(other, cosine, label),
        Some((name, true)) => Near::Automatic(other, cosine, name, true),
        None => Near::Automatic(other, cosine, String::new(), true),
    };
    let auto = served.names.name(&served.model, hook, index);
    let auto = auto.map_err(|error| ApiError::from(&error))?.to_string();
    let glance = glance(served, hook, index).or_else(|| indexed(served, hook, index));
    let known = glance.as_ref();
    Ok(FeatureAnswer {
        hook,
        source: ServedModel::source_id(hook),
        index,
        label: state.labels.get(hook, index),
        auto,
        density: known.map(|glance| glance.density),
        max: known.map(|glance| glance.max),
        mean: known.map(|glance| glance.mean),
        promoted: promoted.into_iter().map(text).collect(),
        suppressed: suppressed.into_iter().map(text).collect(),
        nearest: weights.nearest.into_iter().map(near).collect(),
        decoder_norm: weights.geometry.decoder_norm,
        top_tokens: known.map(|glance| glance.top_tokens.clone()),
        examples: glance.map(|glance| glance.examples),
    })
}

/// The dashboard's entry for the feature. A dashboard that can no longer be read is logged and treated
/// as absent.
#[cfg(not(target_arch = "wasm32"))]
fn glance(served: &ServedModel, hook: HookPoint, index: u32) -> Option<Summary> {
    let dashboard = served.sae_info.get(&hook)?.dashboard.as_ref()?;
    let found = dashboard.feature(index).unwrap_or_else(|error| {
        tracing::warn!(%hook, index, %error, "could not read a dashboard");
        None
    })?;
    let example = |shown: nanoscope_dashboard::ExampleText| Example {
        tokens: shown.tokens,
        values: shown.values,
        peak: shown.peak,
    };
    Some(Summary {
        density: found.density,
        max: found.max,
        mean: found.mean,
        top_tokens: found.top_tokens,
        examples: found.examples.into_iter().map(example).collect(),
    })
}

/// In a browser there are no dashboards.
#[cfg(target_arch = "wasm32")]
fn glance(_: &ServedModel, _: HookPoint, _: u32) -> Option<Summary> {
    None
}

/// The index's entry for the feature.
fn indexed(served: &ServedModel, hook: HookPoint, index: u32) -> Option<Summary> {
    let of_sae = served.names.index(hook)?;
    let entry = of_sae.get(index)?;
    let example = |shown: &nanoscope_index::IndexedExample| Example {
        tokens: shown.tokens.iter().map(ToString::to_string).collect(),
        values: shown.values.iter().map(|&(at, value)| (at as usize, f64::from(value))).collect(),
        peak: shown.peak as usize,
    };
    Some(Summary {
        density: of_sae.density(entry),
        max: f64::from(entry.max),
        mean: f64::from(entry.mean),
        top_tokens: entry
            .fires_on
            .iter()
            .map(|(token, count)| (token.to_string(), *count as usize))
            .collect(),
        examples: entry.examples.iter().map(example).collect(),
    })
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde requires the reference
fn as_text<S: Serializer>(hook: &HookPoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hook)
}
