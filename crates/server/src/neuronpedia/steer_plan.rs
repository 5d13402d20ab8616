//! Converts a steering request into generation requests.

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Intervention, Op, Plan, Positions, Sampling, Scale, Target, VectorName};
use serde::{Deserialize, Serialize};

use super::activation::{check_vector, find_hook};
use super::check::{check_feature, check_model, find_source};
use crate::config::Limits;
use crate::error::ApiError;
use crate::generation::GenerationRequest;
use crate::served_model::ServedModel;

/// Neuronpedia's maximum number of candidates per token.
const MAX_LOGPROBS: usize = 10;
/// Maximum number of features or vectors in one request.
const MAX_STEERED: usize = 256;
/// The largest integer that all JSON parsers represent exactly.
const MAX_SEED: f64 = 9_007_199_254_740_992.0;

/// The request of `completion` and `completion-chat`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SteerRequest<P> {
    pub(crate) prompt: P,
    model: String,
    #[serde(alias = "steer_method")]
    steer_method: SteerMethod,
    #[serde(alias = "normalize_steering")]
    normalize_steering: bool,
    pub(crate) types: Vec<OutputType>,
    #[serde(alias = "n_completion_tokens")]
    n_completion_tokens: usize,
    temperature: f32,
    #[serde(alias = "strength_multiplier")]
    strength_multiplier: f64,
    #[serde(alias = "freq_penalty")]
    freq_penalty: f32,
    seed: f64,
    features: Option<Vec<Feature>>,
    vectors: Option<Vec<RequestVector>>,
    pub(crate) stream: Option<bool>,
    #[serde(alias = "n_logprobs")]
    n_logprobs: Option<usize>,
    /// Required for chats, unused otherwise.
    #[serde(alias = "steer_special_tokens")]
    pub(crate) steer_special_tokens: Option<bool>,
    #[serde(alias = "special_tokens")]
    pub(crate) special_tokens: Option<bool>,
    /// Requests to read vectors from the chat, which are not supported.
    #[serde(default)]
    pub(crate) reads: Vec<serde::de::IgnoredAny>,
    #[serde(alias = "is_assistant_axis")]
    pub(crate) is_assistant_axis: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SteerMethod {
    SimpleAdditive,
    OrthogonalDecomp,
    ProjectionCap,
}

/// The type of an output: steered or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OutputType {
    Steered,
    Default,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feature {
    model: String,
    source: String,
    index: usize,
    strength: f64,
    #[serde(alias = "steering_vector")]
    steering_vector: Option<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestVector {
    #[serde(alias = "steering_vector")]
    steering_vector: Vec<f32>,
    strength: f64,
    hook: String,
}

impl<P> SteerRequest<P> {
    /// Number of candidates per token.
    pub(crate) fn logprobs(&self) -> usize {
        self.n_logprobs.unwrap_or_default()
    }

    /// One generation request per output type, for `prompt`, steered at the positions `at`.
    ///
    /// # Errors
    /// 400 about the invalid field.
    pub(crate) fn generation_requests(
        &self,
        served: &ServedModel,
        limits: &Limits,
        prompt: &[u32],
        at: &Positions,
    ) -> Result<Vec<GenerationRequest>, ApiError> {
        check_model(served, &self.model, "model")?;
        self.check_types()?;
        let sampling = self.sampling(served, limits, prompt)?;
        let steered = self.plan(served, at)?;
        let request = |kind: &OutputType| GenerationRequest {
            prompt: prompt.to_vec(),
            plan: match kind {
                OutputType::Steered => steered.clone(),
                OutputType::Default => Plan::new(),
            },
            sampling: sampling.clone(),
            ..GenerationRequest::default()
        };
        Ok(self.types.iter().map(request).collect())
    }

    fn check_types(&self) -> Result<(), ApiError> {
        let wrong = match self.types.as_slice() {
            [] => "types: empty",
            [_] => return Ok(()),
            [a, b] if a != b => return Ok(()),
            _ => "types: STEERED and DEFAULT may occur at most once each",
        };
        Err(ApiError::bad_request(wrong).with_param("types"))
    }

    fn sampling(
        &self,
        served: &ServedModel,
        limits: &Limits,
        prompt: &[u32],
    ) -> Result<Sampling, ApiError> {
        let wrong = |field: &str, why: String| {
            Err(ApiError::bad_request(format!("{field}: {why}")).with_param(field))
        };
        if self.n_completion_tokens == 0 {
            return wrong("nCompletionTokens", "expected 1 or more, found 0".to_owned());
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return wrong("temperature", format!("expected 0 or more, found {}", self.temperature));
        }
        // Larger penalties would dominate the logits; OpenAI has the same range.
        if !(-2.0..=2.0).contains(&self.freq_penalty) {
            return wrong("freqPenalty", format!("expected −2 to 2, found {}", self.freq_penalty));
        }
        if self.seed.abs() > MAX_SEED {
            return wrong("seed", format!("expected −2^53 to 2^53, found {}", self.seed));
        }
        if self.logprobs() > MAX_LOGPROBS {
            return wrong(
                "nLogprobs",
                format!("expected 0 to {MAX_LOGPROBS}, found {}", self.logprobs()),
            );
        }
        if prompt.len() >= served.model.context_len() {
            let (found, most) = (prompt.len(), served.model.context_len());
            let why = format!(
                "the prompt has {found} tokens, which leaves no room in the context of {most}"
            );
            return wrong("prompt", why);
        }
        Ok(Sampling {
            temperature: self.temperature,
            // Negative seeds wrap around to the upper half of u64.
            seed: self.seed as i64 as u64,
            // Neuronpedia also generates as many tokens as there is room for.
            max_tokens: self.n_completion_tokens.min(limits.max_tokens),
            frequency_penalty: self.freq_penalty,
            top_logprobs: self.logprobs(),
            ..Sampling::default()
        })
    }

    fn plan(&self, served: &ServedModel, at: &Positions) -> Result<Plan, ApiError> {
        let mut plan = Plan::new();
        match (&self.features, &self.vectors) {
            (Some(features), None) => {
                check_count(features.len(), "features")?;
                for (number, feature) in features.iter().enumerate() {
                    let field = |name: &str| format!("features[{number}].{name}");
                    check_model(served, &feature.model, &field("model"))?;
                    let hook = find_source(served, &feature.source, &field("source"))?;
                    let index = check_feature(served, hook, feature.index, &field("index"))?;
                    let op = self.op(feature.strength, &field("strength"))?;
                    let target = match &feature.steering_vector {
                        Some(vector) => {
                            let hook = served.model.write_point(hook);
                            check_vector(served, hook, vector, &field("steeringVector"))?;
                            let name = name(number);
                            plan = plan.vector(name.clone(), vector.clone());
                            (hook, Target::Vector(name))
                        }
                        None => (hook, Target::Feature(index as usize)),
                    };
                    plan = plan.intervene(intervention(target, op, at));
                }
            }
            (None, Some(vectors)) => {
                check_count(vectors.len(), "vectors")?;
                for (number, vector) in vectors.iter().enumerate() {
                    let field = |name: &str| format!("vectors[{number}].{name}");
                    let hook = find_hook(served, &vector.hook, &field("hook"))?;
                    check_vector(served, hook, &vector.steering_vector, &field("steeringVector"))?;
                    let op = self.op(vector.strength, &field("strength"))?;
                    let name = name(number);
                    plan = plan.vector(name.clone(), vector.steering_vector.clone());
                    plan = plan.intervene(intervention((hook, Target::Vector(name)), op, at));
                }
            }
            _ => {
                return Err(ApiError::bad_request(
                    "exactly one of `features` and `vectors` must be given",
                ));
            }
        }
        Ok(plan)
    }

    fn op(&self, strength: f64, field: &str) -> Result<Op, ApiError> {
        let strength = (strength * self.strength_multiplier) as f32;
        if !strength.is_finite() {
            let message = format!(
                "{field}: the product with strengthMultiplier exceeds the range of float32"
            );
            return Err(ApiError::bad_request(message).with_param(field));
        }
        // `normalizeSteering` divides the direction by its length.
        let scale = if self.normalize_steering { Scale::Unit } else { Scale::Raw };
        Ok(match self.steer_method {
            SteerMethod::SimpleAdditive => Op::Add(strength, scale),
            // Both use only the direction of the vector, as Neuronpedia does, normalised or not.
            SteerMethod::OrthogonalDecomp => Op::ProjectionScale(strength),
            SteerMethod::ProjectionCap => Op::ProjectionCap(strength),
        })
    }
}

/// Checks the number of features or vectors.
fn check_count(found: usize, field: &str) -> Result<(), ApiError> {
    if found <= MAX_STEERED {
        return Ok(());
    }
    let message = format!("{field}: at most {MAX_STEERED} are allowed, found {found}");
    Err(ApiError::bad_request(message).with_param(field))
}

/// The name of the request's vector `number`.
fn name(number: usize) -> VectorName {
    format!("v{number}").parse().expect("a letter and a number form a valid name")
}

fn intervention((hook, target): (HookPoint, Target), op: Op, at: &Positions) -> Intervention {
    Intervention { at: at.clone(), ..Intervention::new(hook, target, op) }
}
