//! The JSON form of a plan.

use std::collections::BTreeSet;
use std::fmt;

use nanoscope_hooks::HookPoint;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::json::{Number, custom, hook, object};

use super::condition::Condition;
use super::intervention::{Intervention, VectorName};
use super::plan::Plan;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPlan {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    track: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    track_all: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    capture: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    capture_tracked: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steer: Vec<Intervention>,
    #[serde(skip_serializing_if = "Vectors::is_empty")]
    vectors: Vectors,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_when: Vec<Condition>,
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Vectors by name, in the plan's order.
#[derive(Debug, Default)]
struct Vectors(Vec<(VectorName, Vec<f32>)>);

impl Vectors {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Vectors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers = |values: &[f32]| values.iter().copied().map(Number).collect::<Vec<_>>();
        serializer.collect_map(self.0.iter().map(|(name, values)| (name.as_str(), numbers(values))))
    }
}

impl<'de> Deserialize<'de> for Vectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;

        impl<'de> Visitor<'de> for Named {
            type Value = Vectors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of vectors, each a list of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vectors, A::Error> {
                let mut vectors: Vec<(VectorName, Vec<f32>)> = Vec::new();
                while let Some((name, values)) = map.next_entry::<String, Vec<Number>>()? {
                    let name: VectorName = name.parse().map_err(custom)?;
                    if vectors.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("there are two vectors `{name}`")));
                    }
                    vectors.push((name, values.into_iter().map(|Number(value)| value).collect()));
                }
                Ok(Vectors(vectors))
            }
        }

        deserializer.deserialize_map(Named)
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = |hooks: &BTreeSet<HookPoint>| hooks.iter().map(ToString::to_string).collect();
        let raw = RawPlan {
            track: names(&self.track),
            track_all: self.track_all,
            capture: names(&self.capture),
            capture_tracked: self.capture_tracked,
            steer: self.interventions.clone(),
            vectors: Vectors(self.vectors.clone()),
            stop_when: self.stop_when.clone(),
        };
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Plan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: RawPlan = object(deserializer, "a plan as an object")?;
        let hooks = |names: Vec<String>| {
            names.iter().map(|name| hook(name).map_err(custom)).collect::<Result<BTreeSet<_>, _>>()
        };
        Ok(Self {
            track: hooks(raw.track)?,
            track_all: raw.track_all,
            capture: hooks(raw.capture)?,
            capture_tracked: raw.capture_tracked,
            interventions: raw.steer,
            vectors: raw.vectors.0,
            stop_when: raw.stop_when,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::steering::strategies::plan;

    proptest! {
        #[test]
        fn a_plan_written_as_json_reads_back_as_the_same(plan in plan()) {
            let json = serde_json::to_string(&plan).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Plan>(&json).unwrap(), &plan);
            let value = serde_json::to_value(&plan).unwrap();
            prop_assert_eq!(serde_json::from_value::<Plan>(value).unwrap(), plan);
        }
    }

    #[test]
    fn each_key_is_the_field_that_it_names_and_empty_ones_are_left_out() {
        let json = json!({
            "track": ["blocks.1.hook_resid_post"],
            "track_all": true,
            "capture": ["hook_embed"],
            "capture_tracked": true,
            "steer": [{"hook": "hook_embed", "vector": "calm", "op": "add", "value": 0.1}],
            "vectors": {"calm": [0.5, -1.0]},
            "stop_when": [{"hook": "hook_embed", "feature": 3, "above": 2.5}],
        });
        let plan = Plan::new()
            .track(HookPoint::ResidPost(1))
            .track_all()
            .capture(HookPoint::Embed)
            .capture_tracked()
            .intervene("hook_embed:calm:add:0.1".parse().unwrap())
            .vector("calm".parse().unwrap(), vec![0.5, -1.0])
            .stop_when("hook_embed:3>2.5".parse().unwrap());

        assert_eq!(serde_json::from_value::<Plan>(json.clone()).unwrap(), plan);
        assert_eq!(serde_json::to_value(&plan).unwrap(), json);
        assert_eq!(serde_json::to_string(&Plan::new()).unwrap(), "{}");
        let text = r#"{"steer": ["hook_embed:7:ablate"], "stop_when": ["hook_embed:3>2.5"]}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        assert_eq!((plan.interventions.len(), plan.stop_when.len()), (1, 1));
    }

    #[test]
    fn each_mistake_is_named() {
        let cases = [
            ("[]", "expected a plan as an object"),
            (r#"{"strength": 1}"#, "unknown field `strength`"),
            (r#"{"track": ["hook_embd"]}"#, "did you mean `hook_embed`?"),
            (r#"{"track": null}"#, "invalid type: null"),
            (r#"{"track_all": 1}"#, "expected a boolean"),
            (r#"{"capture": "hook_embed"}"#, "expected a sequence"),
            (r#"{"steer": [{"hook": "hook_embed", "feature": 1, "op": "add"}]}"#, "`add` needs"),
            (r#"{"vectors": {"9": [1]}}"#, "`9` "),
            (r#"{"vectors": {"a": [1], "a": [2]}}"#, "there are two vectors `a`"),
            (r#"{"vectors": {"a": [1e39]}}"#, "finite float32"),
            (r#"{"vectors": [1]}"#, "an object of vectors"),
            (r#"{"stop_when": [{"hook": "hook_embed", "feature": 1}]}"#, "missing field `above`"),
        ];
        for (json, says) in cases {
            let error = serde_json::from_str::<Plan>(json).unwrap_err();
            assert!(error.to_string().contains(says), "{json}: {error}");
        }
    }
}
