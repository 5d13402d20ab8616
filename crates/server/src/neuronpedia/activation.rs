//! `activation/single`, `topk-by-token` and `source`, and their batch variants.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::Response;
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_runtime::Plan;
use nanoscope_sae::SparseFeatures;
use serde::{Deserialize, Serialize};

use super::check::{check_feature, check_model, check_prompts, find_source};
use super::prompt::Prompt;
use crate::analysis::Deadline;
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Neuronpedia's default number of features per token.
const DEFAULT_TOP_K: usize = 5;

/// The answer to a request with several prompts.
#[derive(Debug, Serialize)]
pub(crate) struct Batch<T> {
    pub(crate) results: Vec<T>,
}

/// The request of `single` and `single-batch`.
#[derive(Debug, Deserialize)]
pub(crate) struct SingleRequest {
    prompt: Option<String>,
    prompts: Option<Vec<String>>,
    model: String,
    source: Option<String>,
    index: Option<Index>,
    vector: Option<Vec<f32>>,
    hook: Option<String>,
    /// True if the spellings of special tokens in a prompt stand for the tokens.
    #[serde(alias = "specialTokens")]
    special_tokens: Option<bool>,
}

/// A feature index, which Neuronpedia sends as a string.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a feature index, as a string or a number")]
enum Index {
    Number(usize),
    Text(String),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Single {
    activation: Activation,
    tokens: Vec<String>,
    tokens_is_special: Vec<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Activation {
    values: Vec<f32>,
    max_value: f32,
    max_value_index: usize,
}

/// The direction that `single` measures.
enum Target {
    Feature(HookPoint, u32),
    Vector(HookPoint, Vec<f32>),
}

/// `POST /v1/activation/single`
pub(crate) async fn single(
    state: AppState,
    body::Json(request): body::Json<SingleRequest>,
) -> Result<Json<Single>, ApiError> {
    let work = move |served: &ServedModel| {
        let target = request.target(served)?;
        target.values(
            served,
            &Prompt::from_field(served, request.prompt.as_deref(), request.special_tokens)?,
        )
    };
    Ok(Json(state.analysis.run(&state.served, work).await?))
}

/// `POST /v1/activation/single-batch`
pub(crate) async fn single_batch(
    state: AppState,
    body::Json(request): body::Json<SingleRequest>,
) -> Result<Response, ApiError> {
    let work = move |served: &ServedModel, deadline: &Deadline| {
        let target = request.target(served)?;
        let prompts = encode_all(served, request.prompts.as_deref(), request.special_tokens)?;
        answer_each(&prompts, deadline, |prompt| target.values(served, prompt))
    };
    state.analysis.answer(&state.served, work).await
}

impl SingleRequest {
    /// The direction that the request names.
    fn target(&self, served: &ServedModel) -> Result<Target, ApiError> {
        check_model(served, &self.model, "model")?;
        match (&self.source, &self.index, &self.vector, &self.hook) {
            (Some(source), Some(index), None, None) => {
                let hook = find_source(served, source, "source")?;
                Ok(Target::Feature(hook, check_feature(served, hook, index.number()?, "index")?))
            }
            (None, None, Some(vector), Some(hook)) => {
                let hook = find_hook(served, hook, "hook")?;
                check_vector(served, hook, vector, "vector")?;
                Ok(Target::Vector(hook, vector.clone()))
            }
            _ => Err(ApiError::bad_request(
                "exactly one of `source` with `index` and `vector` with `hook` must be given",
            )),
        }
    }
}

impl Index {
    fn number(&self) -> Result<usize, ApiError> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text.parse().map_err(|_| {
                ApiError::bad_request(format!("index: `{text}` is not a feature index"))
                    .with_param("index")
            }),
        }
    }
}

impl Target {
    /// The values at each token. As in Neuronpedia, those of a feature exclude `<|bos|>`, and those of a
    /// vector include it.
    fn values(&self, served: &ServedModel, prompt: &Prompt) -> Result<Single, ApiError> {
        let (from, values) = match self {
            &Self::Feature(hook, feature) => {
                let features = &prompt.features(served, &[hook])?[&hook];
                let from = prompt.before;
                (from, (from..features.rows()).map(|row| features.get(row, feature)).collect())
            }
            Self::Vector(hook, vector) => (0, projections(served, *hook, vector, prompt)?),
        };
        Ok(Single {
            activation: Activation::new(values),
            tokens: prompt.tokens[from..].to_vec(),
            tokens_is_special: prompt.special(served)?[from..].to_vec(),
        })
    }
}

impl Activation {
    fn new(values: Vec<f32>) -> Self {
        let (max_value_index, max_value) = argmax(&values);
        Self { values, max_value, max_value_index }
    }
}

/// The largest value and its first index.
pub(crate) fn argmax(values: &[f32]) -> (usize, f32) {
    let mut found = (0, values.first().copied().unwrap_or_default());
    for (at, &value) in values.iter().enumerate() {
        if value > found.1 {
            found = (at, value);
        }
    }
    found
}

/// The inner product of the activation at `hook` with `vector` at each token.
fn projections(
    served: &ServedModel,
    hook: HookPoint,
    vector: &[f32],
    prompt: &Prompt,
) -> Result<Vec<f32>, ApiError> {
    let run = served.model.run(&prompt.batch()?, &Plan::new().capture(hook));
    let run = run.map_err(|error| ApiError::from_error(&error))?;
    let activation = run.captured.get(hook).expect("the activation was captured");
    let activations = to_host(activation.tensor::<3>());
    let project = |row: &[f32]| {
        let sum: f64 = row.iter().zip(vector).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        sum as f32
    };
    let values: Vec<f32> = activations.chunks(vector.len()).map(project).collect();
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(ApiError::bad_request("vector: the projections exceed the range of float32")
        .with_param("vector"))
}

/// Parses the hook point `name`.
///
/// # Errors
/// 400 about `field` if it is unknown or the model does not have it.
pub(crate) fn find_hook(
    served: &ServedModel,
    name: &str,
    field: &str,
) -> Result<HookPoint, ApiError> {
    let hook: HookPoint =
        name.parse().map_err(|error| ApiError::from_error(&error).with_param(field))?;
    let n_layer = served.model.gpt().config().shape.n_layer;
    if hook.layer().is_some_and(|layer| layer >= n_layer) {
        let message = format!("{field}: {hook} does not exist; the model has {n_layer} blocks");
        return Err(ApiError::bad_request(message).with_param(field));
    }
    Ok(hook)
}

/// Checks that `vector` can be added at `hook`.
///
/// # Errors
/// 400 about `field` if its length is wrong or a number is not finite.
pub(crate) fn check_vector(
    served: &ServedModel,
    hook: HookPoint,
    vector: &[f32],
    field: &str,
) -> Result<(), ApiError> {
    let shape = served.model.gpt().config().hook_shape(hook);
    if shape.width() != Some(vector.len()) {
        let found = vector.len();
        let message = format!(
            "{field}: found {found} numbers, but the activation at {hook} has the shape {shape}"
        );
        return Err(ApiError::bad_request(message).with_param(field));
    }
    if vector.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{field}: a number exceeds the range of float32"))
        .with_param(field))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopKRequest {
    prompt: Option<String>,
    prompts: Option<Vec<String>>,
    model: String,
    source: String,
    #[serde(alias = "ignore_bos")]
    ignore_bos: bool,
    #[serde(alias = "top_k")]
    top_k: Option<usize>,
    #[serde(alias = "special_tokens")]
    special_tokens: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TopKAnswer {
    results: Vec<TopToken>,
    tokens: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopToken {
    token_position: usize,
    token: String,
    is_special: bool,
    top_features: Vec<TopFeature>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopFeature {
    feature_index: u32,
    activation_value: f32,
}

/// `POST /v1/activation/topk-by-token`
pub(crate) async fn top_k(
    state: AppState,
    body::Json(request): body::Json<TopKRequest>,
) -> Result<Json<TopKAnswer>, ApiError> {
    let work = move |served: &ServedModel| {
        let hook = request.hook(served)?;
        request.answer(
            served,
            hook,
            &Prompt::from_field(served, request.prompt.as_deref(), request.special_tokens)?,
        )
    };
    Ok(Json(state.analysis.run(&state.served, work).await?))
}

/// `POST /v1/activation/topk-by-token-batch`
pub(crate) async fn top_k_batch(
    state: AppState,
    body::Json(request): body::Json<TopKRequest>,
) -> Result<Response, ApiError> {
    let work = move |served: &ServedModel, deadline: &Deadline| {
        let hook = request.hook(served)?;
        let prompts = encode_all(served, request.prompts.as_deref(), request.special_tokens)?;
        answer_each(&prompts, deadline, |prompt| request.answer(served, hook, prompt))
    };
    state.analysis.answer(&state.served, work).await
}

impl TopKRequest {
    fn hook(&self, served: &ServedModel) -> Result<HookPoint, ApiError> {
        check_model(served, &self.model, "model")?;
        if self.top_k == Some(0) {
            return Err(
                ApiError::bad_request("topK: expected 1 or more, found 0").with_param("topK")
            );
        }
        find_source(served, &self.source, "source")
    }

    fn answer(
        &self,
        served: &ServedModel,
        hook: HookPoint,
        prompt: &Prompt,
    ) -> Result<TopKAnswer, ApiError> {
        let features = &prompt.features(served, &[hook])?[&hook];
        let special = prompt.special(served)?;
        let from = if self.ignore_bos { prompt.before } else { 0 };
        let token = |position: usize| {
            let strongest = features.strongest(position, self.top_k.unwrap_or(DEFAULT_TOP_K));
            let feature =
                |(feature_index, activation_value)| TopFeature { feature_index, activation_value };
            TopToken {
                token_position: position,
                token: prompt.tokens[position].clone(),
                is_special: special[position],
                top_features: strongest.into_iter().map(feature).collect(),
            }
        };
        let results = (from..features.rows()).map(token).collect();
        Ok(TopKAnswer { results, tokens: prompt.tokens[from..].to_vec() })
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct SourceRequest {
    prompts: Option<Vec<String>>,
    model: String,
    source: String,
    #[serde(alias = "specialTokens")]
    special_tokens: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceAnswer {
    tokens: Vec<String>,
    /// For each active feature, its positions and values. Excludes `<|bos|>`.
    active_features: BTreeMap<u32, Vec<(usize, f32)>>,
}

/// `POST /v1/activation/source`
pub(crate) async fn source(
    state: AppState,
    body::Json(request): body::Json<SourceRequest>,
) -> Result<Response, ApiError> {
    let work = move |served: &ServedModel, deadline: &Deadline| {
        check_model(served, &request.model, "model")?;
        let hook = find_source(served, &request.source, "source")?;
        let prompts = encode_all(served, request.prompts.as_deref(), request.special_tokens)?;
        answer_each(&prompts, deadline, |prompt| {
            let features = prompt.features(served, &[hook])?;
            let active_features = by_feature(&features[&hook], prompt.before);
            Ok(SourceAnswer { tokens: prompt.tokens.clone(), active_features })
        })
    };
    state.analysis.answer(&state.served, work).await
}

/// For each feature that is active in the rows `from..`, its rows and values.
pub(crate) fn by_feature(
    features: &SparseFeatures,
    from: usize,
) -> BTreeMap<u32, Vec<(usize, f32)>> {
    let mut found: BTreeMap<u32, Vec<(usize, f32)>> = BTreeMap::new();
    for row in from..features.rows() {
        for (feature, value) in features.row(row) {
            found.entry(feature).or_default().push((row, value));
        }
    }
    found
}

/// The answers for several prompts. All prompts are checked before the first one is run.
pub(crate) fn answer_each<T>(
    prompts: &[Prompt],
    deadline: &Deadline,
    answer: impl Fn(&Prompt) -> Result<T, ApiError>,
) -> Result<Batch<T>, ApiError> {
    let answer = |prompt| deadline.check().and_then(|()| answer(prompt));
    Ok(Batch { results: prompts.iter().map(answer).collect::<Result<_, _>>()? })
}

/// Encodes the prompts of a request with several.
pub(crate) fn encode_all(
    served: &ServedModel,
    prompts: Option<&[String]>,
    special: Option<bool>,
) -> Result<Vec<Prompt>, ApiError> {
    let special = special.unwrap_or(false);
    let encode = |(at, text): (usize, &String)| {
        Prompt::new(served, text, special, &format!("prompts[{at}]"))
    };
    check_prompts(prompts)?.iter().enumerate().map(encode).collect()
}
