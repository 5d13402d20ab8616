//! The JSON forms of an intervention and of a condition.
//!
//! `docs/steering.schema.json` describes them, and `tests/schema.rs` tests that code and schema
//! agree. A string in the text form is accepted too.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::json::{Index, Number, custom, hook, present};

use super::condition::Condition;
use super::intervention::{Intervention, Splice, Target};
use super::op::Scale;
use super::positions::Positions;
use super::syntax_error::SyntaxError;
use super::text::{WithoutRows, check_target, parse_op, parse_positions};

/// The JSON object of an intervention. `null` is not accepted for an absent key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIntervention {
    hook: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    feature: Option<Index>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    vector: Option<String>,
    op: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    value: Option<Number>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    scale: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    rows: Option<[Index; 2]>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    when: Option<Condition>,
    #[serde(default, skip_serializing_if = "RawSplice::is_default")]
    splice: RawSplice,
}

/// The JSON object of a condition.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    hook: String,
    feature: Index,
    above: Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawSplice {
    #[default]
    KeepError,
    Reconstruct,
}

impl RawSplice {
    // Serde passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&Intervention> for RawIntervention {
    fn from(spec: &Intervention) -> Self {
        let (feature, vector) = match &spec.target {
            Target::Feature(index) => (Some(Index(*index)), None),
            Target::Vector(name) => (None, Some(name.to_string())),
        };
        let scale = spec.op.scale().filter(|scale| *scale != Scale::default());
        let positions = WithoutRows(&spec.at).to_string();
        Self {
            hook: spec.hook.to_string(),
            feature,
            vector,
            op: spec.op.name().to_owned(),
            value: spec.op.value().map(Number),
            scale: scale.map(|scale| scale.name().to_owned()),
            at: (positions != WithoutRows(&Positions::default()).to_string()).then_some(positions),
            rows: spec.at.rows().map(|rows| [Index(rows.start), Index(rows.end)]),
            when: spec.when,
            splice: match spec.splice {
                Splice::KeepError => RawSplice::KeepError,
                Splice::Reconstruct => RawSplice::Reconstruct,
            },
        }
    }
}

impl TryFrom<RawIntervention> for Intervention {
    type Error = SyntaxError;

    fn try_from(raw: RawIntervention) -> Result<Self, SyntaxError> {
        let target = match (raw.feature, raw.vector) {
            (Some(Index(index)), None) => Target::Feature(index),
            (None, Some(name)) => Target::Vector(name.parse()?),
            _ => return Err(SyntaxError::FeatureOrVector),
        };
        let scale = raw.scale.map(|scale| scale.parse());
        let op = parse_op(&raw.op, raw.value, |Number(value)| Some(value), scale)?;
        check_target(&target, op)?;
        let mut at = raw.at.as_deref().map_or(Ok(Positions::default()), parse_positions)?;
        if let Some([Index(from), Index(to)]) = raw.rows {
            if from >= to {
                return Err(SyntaxError::Rows { found: format!("[{from}, {to}]") });
            }
            at = at.in_rows(from..to);
        }
        let splice = match raw.splice {
            RawSplice::KeepError => Splice::KeepError,
            RawSplice::Reconstruct => Splice::Reconstruct,
        };
        Ok(Self { hook: hook(&raw.hook)?, target, op, at, when: raw.when, splice })
    }
}

impl From<&Condition> for RawCondition {
    fn from(condition: &Condition) -> Self {
        Self {
            hook: condition.hook.to_string(),
            feature: Index(condition.feature),
            above: Number(condition.above),
        }
    }
}

impl TryFrom<RawCondition> for Condition {
    type Error = SyntaxError;

    fn try_from(raw: RawCondition) -> Result<Self, SyntaxError> {
        let (Index(feature), Number(above)) = (raw.feature, raw.above);
        Ok(Self { hook: hook(&raw.hook)?, feature, above })
    }
}

impl Serialize for Intervention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawIntervention::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Intervention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either::<Self, RawIntervention>::new("an intervention"))
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawCondition::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either::<Self, RawCondition>::new("a condition"))
    }
}

/// Reads a `T` from its text form or from an object, `Raw`.
struct Either<T, Raw> {
    what: &'static str,
    reads: PhantomData<(T, Raw)>,
}

impl<T, Raw> Either<T, Raw> {
    fn new(what: &'static str) -> Self {
        Self { what, reads: PhantomData }
    }
}

impl<'de, T, Raw> Visitor<'de> for Either<T, Raw>
where
    T: FromStr<Err = SyntaxError> + TryFrom<Raw, Error = SyntaxError>,
    Raw: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as a string or an object", self.what)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        Raw::deserialize(MapAccessDeserializer::new(map))?.try_into().map_err(custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::steering::strategies::{condition, intervention};

    proptest! {
        #[test]
        fn what_is_written_as_json_reads_back_as_the_same(spec in intervention()) {
            let json = serde_json::to_string(&spec).unwrap();
            prop_assert_eq!(serde_json::from_str::<Intervention>(&json).unwrap(), spec);
        }

        #[test]
        fn a_condition_written_as_json_reads_back_as_the_same(condition in condition()) {
            let json = serde_json::to_string(&condition).unwrap();
            prop_assert_eq!(serde_json::from_str::<Condition>(&json).unwrap(), condition);
        }

        #[test]
        fn the_written_form_in_json_means_what_it_means_alone(spec in intervention()) {
            let json = serde_json::to_string(&spec.to_string()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Intervention>(&json).unwrap(), spec);
        }
    }

    #[test]
    fn each_key_is_the_part_of_the_text_that_it_names() {
        let json = json!({
            "hook": "blocks.2.hook_resid_post",
            "feature": 417,
            "op": "add",
            "value": 3,
            "scale": "unit",
            "at": "generated+special",
            "rows": [0, 2],
            "when": {"hook": "blocks.1.hook_resid_post", "feature": 12, "above": 2.5},
            "splice": "reconstruct",
        });

        let spec: Intervention = serde_json::from_value(json).unwrap();

        assert_eq!(
            spec.to_string(),
            "blocks.2.hook_resid_post:417:add:3:unit@generated+special[0..2] when \
             blocks.1.hook_resid_post:12>2.5 with reconstruct"
        );
        let vector = json!({"hook": "hook_embed", "vector": "calm", "op": "add", "value": -1});
        let spec: Intervention = serde_json::from_value(vector).unwrap();
        assert_eq!(spec.to_string(), "hook_embed:calm:add:-1");
        assert_eq!(
            serde_json::to_string(&spec).unwrap(),
            r#"{"hook":"hook_embed","vector":"calm","op":"add","value":-1.0}"#
        );
    }

    #[test]
    fn each_mistake_is_named() {
        let with = |key: &str, value: serde_json::Value| {
            let mut json = json!({"hook": "hook_embed", "feature": 1, "op": "add", "value": 1});
            json[key] = value;
            json
        };
        let cases = [
            (json!(3), "expected an intervention as a string or an object"),
            (json!("hook_embed:1"), "`hook_embed:1` is not of the form"),
            (json!({"feature": 1, "op": "ablate"}), "missing field `hook`"),
            (with("hook", json!("hook_embd")), "did you mean `hook_embed`?"),
            (with("vector", json!("calm")), "either `feature` or `vector`"),
            (json!({"hook": "hook_embed", "op": "ablate"}), "either `feature` or `vector`"),
            (with("feature", json!(-1)), "a whole number from 0"),
            (with("feature", json!(1.5)), "a whole number from 0"),
            (with("op", json!("boost")), "unknown operation `boost`"),
            (with("op", json!("ablate")), "`ablate` takes no value"),
            (with("value", json!(1e39)), "is not a finite float32 number"),
            (with("value", json!(null)), "invalid type: null"),
            (with("scale", json!("big")), "unknown scale `big`"),
            (with("at", json!("now")), "`now` is not a position rule"),
            (with("at", json!("all[0]")), "`all[0]` is not a position rule"),
            (with("rows", json!([2, 2])), "`[2, 2]` is not a range of batch rows"),
            (with("rows", json!([1])), "invalid length 1"),
            (with("when", json!({"hook": "hook_embed", "feature": 1})), "missing field `above`"),
            (with("splice", json!("mix")), "expected `keep-error` or `reconstruct`"),
            (with("strength", json!(1)), "unknown field `strength`"),
        ];
        for (json, says) in cases {
            let error = serde_json::from_value::<Intervention>(json.clone()).unwrap_err();
            assert!(error.to_string().contains(says), "{json}: {error}");
        }
    }
}
