//! The `nanoscope` object of a request and of its answer: tracked features and steering.

use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    Condition, Intervention, InterventionReport, Plan, PositionRange, Step, VectorName,
};
use nanoscope_sae::SparseFeatures;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::http::body::parse;
use crate::openai::causes::CausesOptions;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// The `nanoscope` object of a request: features to track, interventions and stop conditions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extension {
    plan: Plan,
    /// Number of strongest features to report per token and hook point.
    pub(crate) top: usize,
    /// True if the features of the prompt's tokens are requested too.
    pub(crate) prompt: bool,
    /// True if each text is requested both with and without steering.
    pub(crate) compare: bool,
    /// The causes of each token that are requested.
    pub(crate) why: Option<CausesOptions>,
}

/// The raw JSON object. `null` is treated as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawExtension {
    track: Option<Vec<String>>,
    top: Option<usize>,
    prompt: Option<bool>,
    steer: Option<Vec<Value>>,
    stop_when: Option<Vec<Value>>,
    vectors: Option<BTreeMap<String, Vec<f32>>>,
    compare: Option<bool>,
    why: Option<CausesOptions>,
}

/// Default number of features per token and hook point.
const DEFAULT_TOP: usize = 8;
/// Maximum number of interventions, and of stop conditions, in one request.
const MAX_SPECS: usize = 256;

impl Extension {
    /// Reads the object. Without one, nothing is tracked or changed.
    ///
    /// # Errors
    /// 400 about the invalid field.
    pub(crate) fn read(value: Option<&Value>, served: &ServedModel) -> Result<Self, ApiError> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(Self { top: DEFAULT_TOP, ..Self::default() });
        };
        // serde would read a list as the fields in declaration order.
        if value.is_array() {
            return Err(ApiError::bad_request("nanoscope: expected a JSON object, found a list")
                .with_param("nanoscope"));
        }
        let raw: RawExtension = parse(value, "nanoscope")?;
        let steer = raw.steer.unwrap_or_default();
        let compare = raw.compare.unwrap_or(false);
        if compare && steer.is_empty() {
            let message = "nanoscope.compare: requires interventions in nanoscope.steer";
            return Err(ApiError::bad_request(message).with_param("nanoscope.compare"));
        }
        let mut plan = Plan::new();
        for (at, id) in raw.track.unwrap_or_default().iter().enumerate() {
            plan = track(plan, id, served).ok_or_else(|| {
                let known: Vec<_> = served.sae_info.keys().map(ToString::to_string).collect();
                let field = format!("nanoscope.track[{at}]");
                ApiError::bad_request(format!(
                    "{field}: unknown SAE `{id}`; available: {}",
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                ))
                .with_param(field)
            })?;
        }
        let conditions = raw.stop_when.unwrap_or_default();
        for condition in parse_specs::<Condition>(conditions, "nanoscope.stop_when", served)? {
            plan = plan.stop_when(condition);
        }
        for (name, values) in raw.vectors.unwrap_or_default() {
            let name: VectorName = name
                .parse()
                .map_err(|error| ApiError::from_error(&error).with_param("nanoscope.vectors"))?;
            plan = plan.vector(name, values);
        }
        for intervention in parse_specs::<Intervention>(steer, "nanoscope.steer", served)? {
            plan = plan.intervene(intervention);
        }
        let (top, prompt) = (raw.top.unwrap_or(DEFAULT_TOP), raw.prompt.unwrap_or(false));
        let why = raw.why.map(|why| why.check(served)).transpose()?;
        Ok(Self { plan, top, prompt, compare, why })
    }

    /// The plan: what is tracked and, if `steered`, the interventions.
    pub(crate) fn plan(&self, steered: bool) -> Plan {
        if steered { self.plan.clone() } else { self.plan.without_steering() }
    }

    /// The plan of a pass over the prompt alone, which generates nothing and so never ends a text.
    pub(crate) fn prompt_plan(&self, steered: bool) -> Plan {
        let mut plan = self.plan(steered);
        plan.stop_when.clear();
        plan.interventions.retain(|made| *made.at.range() != PositionRange::Generated);
        plan
    }

    /// The JSON of a generated token.
    pub(crate) fn token(&self, state: &AppState, step: &Step) -> Map<String, Value> {
        let mut entry = self.entry(state, step.position, step.token_id, &step.features, 0);
        if !step.steered_features.is_empty() {
            let of_hook = |(hook, features): (&HookPoint, &Vec<(u32, f32)>)| {
                let pair = |&(index, value): &(u32, f32)| json!([index, shortest_decimal(value)]);
                (hook.to_string(), features.iter().map(pair).collect())
            };
            let steered: Map<_, _> = step.steered_features.iter().map(of_hook).collect();
            entry.insert("steered_features".to_owned(), Value::Object(steered));
        }
        entry
    }

    /// The JSON of the prompt's tokens.
    pub(crate) fn prompt(
        &self,
        state: &AppState,
        ids: &[u32],
        features: &BTreeMap<HookPoint, SparseFeatures>,
    ) -> Value {
        let tokens = ids.iter().enumerate();
        tokens.map(|(at, &id)| Value::Object(self.entry(state, at, id, features, at))).collect()
    }

    /// The JSON of a token whose features are in `row`.
    fn entry(
        &self,
        state: &AppState,
        position: usize,
        id: u32,
        features: &BTreeMap<HookPoint, SparseFeatures>,
        row: usize,
    ) -> Map<String, Value> {
        let strongest_at = |(&hook, features): (&HookPoint, &SparseFeatures)| {
            let strongest = features.strongest(row, self.top);
            state.prepare_names(hook, &strongest);
            let entry = |(index, value)| match state.name(hook, index) {
                Some((name, true)) => json!([index, shortest_decimal(value), name, true]),
                Some((label, false)) => json!([index, shortest_decimal(value), label]),
                None => json!([index, shortest_decimal(value)]),
            };
            (hook.to_string(), strongest.into_iter().map(entry).collect())
        };
        let features: Map<_, _> = features.iter().map(strongest_at).collect();
        let mut entry = Map::new();
        entry.insert("position".to_owned(), position.into());
        entry.insert("token_id".to_owned(), id.into());
        let token = state.tokenizer().token_text(id).unwrap_or_default();
        entry.insert("token".to_owned(), token.into());
        entry.insert("features".to_owned(), Value::Object(features));
        entry
    }
}

/// The JSON of the effects of interventions.
pub(crate) fn applied_json(applied: &[InterventionReport]) -> Value {
    let one = |applied: &InterventionReport| {
        json!({
            "intervention": applied.intervention.to_string(),
            "positions": applied.positions,
            "changed": applied.changed,
            "moved": shortest_decimal(applied.moved),
        })
    };
    applied.iter().map(one).collect()
}

/// The number with the fewest decimal digits that identify it as an `f32`.
pub(crate) fn shortest_decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Adds the SAE `id`, or all of them for `all`, to the tracked ones. `None` if it is unknown.
fn track(plan: Plan, id: &str, served: &ServedModel) -> Option<Plan> {
    if id == "all" {
        return Some(served.sae_info.keys().copied().fold(plan, Plan::track));
    }
    served.find_sae(id).map(|hook| plan.track(hook))
}

/// Parses interventions or conditions, in which an SAE's id may stand for its hook point.
fn parse_specs<T: serde::de::DeserializeOwned>(
    mut values: Vec<Value>,
    field: &str,
    served: &ServedModel,
) -> Result<Vec<T>, ApiError> {
    if values.len() > MAX_SPECS {
        let found = values.len();
        return Err(ApiError::bad_request(format!(
            "{field}: at most {MAX_SPECS} are allowed, found {found}"
        ))
        .with_param(field));
    }
    let read = |(at, value): (usize, &mut Value)| {
        resolve_sae_ids(value, served);
        parse(&*value, &format!("{field}[{at}]"))
    };
    values.iter_mut().enumerate().map(read).collect()
}

/// Replaces SAE ids by the names of their hook points. A text that begins with the index of a feature is about
/// the deepest SAE.
fn resolve_sae_ids(value: &mut Value, served: &ServedModel) {
    let hook_of = |id: &str| served.find_sae(id).map(|hook| hook.to_string());
    match value {
        Value::String(text) => {
            let first = text.split(':').next().unwrap_or_default().trim();
            if let Some(deepest) = served.model.saes().keys().next_back()
                && !first.is_empty()
                && first.bytes().all(|byte| byte.is_ascii_digit())
            {
                *text = format!("{deepest}:{}", text.trim());
            }
            let resolved = text
                .split_once(':')
                .and_then(|(id, rest)| Some(format!("{}:{rest}", hook_of(id.trim())?)));
            if let Some(resolved) = resolved {
                *text = resolved;
            }
        }
        Value::Object(object) => {
            if let Some(Value::String(id)) = object.get_mut("hook")
                && let Some(hook) = hook_of(id)
            {
                *id = hook;
            }
            if let Some(when) = object.get_mut("when") {
                resolve_sae_ids(when, served);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_with_few_digits_and_reads_back_unchanged() {
        for value in [0.1_f32, 1.0 / 3.0, 27.0, 1e-20, f32::MAX, -5.4321] {
            let text = json!(shortest_decimal(value)).to_string();

            assert_eq!(text.parse::<f32>(), Ok(value), "{text}");
        }
        assert_eq!(json!(shortest_decimal(0.1)).to_string(), "0.1");
    }
}
