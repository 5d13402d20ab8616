use axum::Json;
use axum::extract::State;
use nanoscope_dashboard::Glance;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::LogitEffect;
use serde::{Serialize, Serializer};

use super::feature_path::find;
use crate::error::ApiError;
use crate::http::body;
use crate::labels::LabelBook;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Tokens at either end of a feature's effect, and features that are near it.
const EFFECT_TOKENS: usize = 10;
const NEAREST: usize = 10;

/// All that is known of a feature. What is not known is left out.
#[derive(Debug, Serialize)]
pub(crate) struct FeatureAnswer {
    #[serde(serialize_with = "as_text")]
    hook: HookPoint,
    source: String,
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
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

/// A feature that writes in nearly the same direction, with the cosine.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Near {
    Labelled(u32, f32, String),
    Bare(u32, f32),
}

#[derive(Debug, Serialize)]
struct Example {
    tokens: Vec<String>,
    values: Vec<(usize, f64)>,
    peak: usize,
}

/// `GET /api/saes/{source}/features/{index}`
pub(crate) async fn feature(
    State(state): State<AppState>,
    body::Path((source, index)): body::Path<(String, String)>,
) -> Result<Json<FeatureAnswer>, ApiError> {
    let (hook, index) = find(&state.served, (&source, &index))?;
    let labels = state.labels.clone();
    let work = move |served: &ServedModel| page(served, &labels, hook, index);
    Ok(Json(state.analysis.run(&state.served, work).await?))
}

fn page(
    served: &ServedModel,
    labels: &LabelBook,
    hook: HookPoint,
    index: u32,
) -> Result<FeatureAnswer, ApiError> {
    let weights = served.model.feature_weights(hook, &[index as usize], NEAREST);
    let mut weights = weights.map_err(|error| ApiError::from_error(&error))?;
    let weights = weights.pop().expect("one feature was asked for");
    let tokenizer = served.model.tokenizer();
    let text = |(id, effect): (u32, f32)| {
        let text = tokenizer.and_then(|tokenizer| tokenizer.token_text(id));
        (id, text.map_or_else(|| format!("<{id}>"), std::borrow::Cow::into_owned), effect)
    };
    let LogitEffect { promoted, suppressed } = match &weights.effects {
        Ok(effects) => LogitEffect::of(effects, EFFECT_TOKENS),
        // It does not write to the residual stream.
        Err(_) => LogitEffect { promoted: Vec::new(), suppressed: Vec::new() },
    };
    let near = |(other, cosine)| match labels.get(hook, other) {
        Some(label) => Near::Labelled(other, cosine, label),
        None => Near::Bare(other, cosine),
    };
    let glance = glance(served, hook, index);
    let known = glance.as_ref();
    Ok(FeatureAnswer {
        hook,
        source: ServedModel::source_id(hook),
        index,
        label: labels.get(hook, index),
        density: known.map(|glance| glance.density),
        max: known.map(|glance| glance.max),
        mean: known.map(|glance| glance.mean),
        promoted: promoted.into_iter().map(text).collect(),
        suppressed: suppressed.into_iter().map(text).collect(),
        nearest: weights.nearest.into_iter().map(near).collect(),
        decoder_norm: weights.geometry.decoder_norm,
        top_tokens: known.map(|glance| glance.top_tokens.clone()),
        examples: glance.map(|glance| {
            let example = |shown: nanoscope_dashboard::ShownExample| Example {
                tokens: shown.tokens,
                values: shown.values,
                peak: shown.peak,
            };
            glance.examples.into_iter().map(example).collect()
        }),
    })
}

/// What the dashboard says. One that cannot be read any more says nothing, and the log says why.
fn glance(served: &ServedModel, hook: HookPoint, index: u32) -> Option<Glance> {
    let dashboard = served.sae_info.get(&hook)?.dashboard.as_ref()?;
    dashboard.feature(index).unwrap_or_else(|error| {
        tracing::warn!(%hook, index, %error, "a dashboard cannot be read any more");
        None
    })
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's form
fn as_text<S: Serializer>(hook: &HookPoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hook)
}
