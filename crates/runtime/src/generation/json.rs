//! The JSON forms of a generated token and of sampling parameters.

use std::collections::BTreeMap;
use std::fmt;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::generation::outcome::Step;
use crate::generation::sampling::Sampling;
use crate::json::{Index, Number, custom, hook, object};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    position: Index,
    token_id: u32,
    token: String,
    logprob: Number,
    #[serde(default)]
    features: BTreeMap<String, Vec<Pair>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    d_sae: BTreeMap<String, Index>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    top_logprobs: Vec<(u32, Number)>,
}

/// A feature and its activation. A label after them, as written by the command line and the server,
/// is ignored.
#[derive(Debug, Serialize)]
struct Pair(u32, Number);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = Pair;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of a feature, its activation and perhaps its label")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pair, A::Error> {
                let index =
                    seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let value =
                    seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let _label: Option<String> = seq.next_element()?;
                match seq.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::invalid_length(4, &self)),
                    None => Ok(Pair(index, value)),
                }
            }
        }

        deserializer.deserialize_seq(Parts)
    }
}

impl From<&Step> for RawStep {
    fn from(step: &Step) -> Self {
        let pairs = |features: &SparseFeatures| {
            let strongest = features.strongest(0, features.d_sae()).into_iter();
            strongest.map(|(index, value)| Pair(index, Number(value))).collect()
        };
        let features = step.features.iter();
        let d_sae = step.features.iter();
        let top_logprobs = step.top_logprobs.iter();
        Self {
            position: Index(step.position),
            token_id: step.token_id,
            token: step.text.clone(),
            logprob: Number(step.logprob),
            features: features.map(|(hook, row)| (hook.to_string(), pairs(row))).collect(),
            d_sae: d_sae.map(|(hook, row)| (hook.to_string(), Index(row.d_sae()))).collect(),
            top_logprobs: top_logprobs.map(|&(id, logprob)| (id, Number(logprob))).collect(),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawStep::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut raw: RawStep = object(deserializer, "a token as an object")?;
        let mut features: BTreeMap<HookPoint, SparseFeatures> = BTreeMap::new();
        for (name, pairs) in raw.features {
            let hook = hook(&name).map_err(custom)?;
            let missing = || D::Error::custom(format!("`d_sae` has no number for `{name}`"));
            let Index(d_sae) = raw.d_sae.remove(&name).ok_or_else(missing)?;
            let row = sparse_row(&name, pairs, d_sae).map_err(D::Error::custom)?;
            if features.insert(hook, row).is_some() {
                return Err(D::Error::custom(format!("`features` names {hook} twice")));
            }
        }
        if let Some(name) = raw.d_sae.keys().next() {
            return Err(D::Error::custom(format!("`d_sae` names `{name}`, `features` does not")));
        }
        Ok(Self {
            position: raw.position.0,
            token_id: raw.token_id,
            text: raw.token,
            logprob: raw.logprob.0,
            features,
            steered_features: BTreeMap::new(),
            top_logprobs: raw.top_logprobs.into_iter().map(|(id, Number(p))| (id, p)).collect(),
        })
    }
}

/// Builds a row from `pairs` in any order.
fn sparse_row(name: &str, pairs: Vec<Pair>, d_sae: usize) -> Result<SparseFeatures, String> {
    let mut row: BTreeMap<u32, f32> = BTreeMap::new();
    for Pair(index, Number(value)) in pairs {
        if index as usize >= d_sae {
            return Err(format!("`{name}` has {d_sae} features; found feature {index}"));
        }
        if row.insert(index, value).is_some() {
            return Err(format!("`{name}` has feature {index} twice"));
        }
    }
    let mut features = SparseFeatures::new(d_sae);
    features.push_row(row);
    Ok(features)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawSampling {
    temperature: Number,
    top_k: Option<Index>,
    top_p: Option<Number>,
    seed: u64,
    max_tokens: Index,
    frequency_penalty: Number,
    presence_penalty: Number,
    top_logprobs: Index,
}

impl Default for RawSampling {
    fn default() -> Self {
        Self::from(&Sampling::default())
    }
}

impl From<&Sampling> for RawSampling {
    fn from(sampling: &Sampling) -> Self {
        Self {
            temperature: Number(sampling.temperature),
            top_k: sampling.top_k.map(Index),
            top_p: sampling.top_p.map(Number),
            seed: sampling.seed,
            max_tokens: Index(sampling.max_tokens),
            frequency_penalty: Number(sampling.frequency_penalty),
            presence_penalty: Number(sampling.presence_penalty),
            top_logprobs: Index(sampling.top_logprobs),
        }
    }
}

impl Serialize for Sampling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawSampling::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sampling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: RawSampling = object(deserializer, "sampling parameters as an object")?;
        let sampling = Self {
            temperature: raw.temperature.0,
            top_k: raw.top_k.map(|Index(k)| k),
            top_p: raw.top_p.map(|Number(p)| p),
            seed: raw.seed,
            max_tokens: raw.max_tokens.0,
            frequency_penalty: raw.frequency_penalty.0,
            presence_penalty: raw.presence_penalty.0,
            top_logprobs: raw.top_logprobs.0,
        };
        sampling.check().map_err(D::Error::custom)?;
        Ok(sampling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn step() -> Step {
        let row = |d_sae, pairs: &[(u32, f32)]| {
            let mut features = SparseFeatures::new(d_sae);
            features.push_row(pairs.iter().copied());
            features
        };
        Step {
            position: 5,
            token_id: 262,
            text: " a".to_owned(),
            logprob: -1.2,
            features: BTreeMap::from([
                (HookPoint::ResidPost(2), row(16, &[(3, -0.1), (7, 2.5), (15, 0.3)])),
                (HookPoint::MlpOut(0), row(8, &[])),
            ]),
            steered_features: BTreeMap::new(),
            top_logprobs: vec![(4, -0.5), (262, -1.2)],
        }
    }

    fn written() -> Value {
        json!({
            "position": 5,
            "token_id": 262,
            "token": " a",
            "logprob": -1.2,
            "features": {
                "blocks.0.hook_mlp_out": [],
                "blocks.2.hook_resid_post": [[7, 2.5], [15, 0.3], [3, -0.1]],
            },
            "d_sae": {"blocks.0.hook_mlp_out": 8, "blocks.2.hook_resid_post": 16},
            "top_logprobs": [[4, -0.5], [262, -1.2]],
        })
    }

    #[test]
    fn a_step_written_as_json_reads_back_as_the_same() {
        assert_eq!(serde_json::to_value(step()).unwrap(), written());
        assert_eq!(serde_json::from_value::<Step>(written()).unwrap(), step());
        let text = serde_json::to_string(&step()).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step());
    }

    #[test]
    fn features_may_have_labels_and_any_order() {
        let mut json = written();
        json["features"]["blocks.2.hook_resid_post"] =
            json!([[15, 0.3, "numbers"], [3, -0.1], [7, 2.5, "names"]]);

        assert_eq!(serde_json::from_value::<Step>(json).unwrap(), step());
    }

    #[test]
    fn a_step_without_features_has_neither_rows_nor_sizes() {
        let plain = Step { features: BTreeMap::new(), top_logprobs: Vec::new(), ..step() };
        let json =
            json!({"position": 5, "token_id": 262, "token": " a", "logprob": -1.2, "features": {}});

        assert_eq!(serde_json::to_value(&plain).unwrap(), json);
        assert_eq!(serde_json::from_value::<Step>(json).unwrap(), plain);
    }

    #[test]
    fn a_step_that_cannot_be_is_refused() {
        const HOOK: &str = "blocks.2.hook_resid_post";
        let with = |key: &str, value: Value| {
            let mut json = written();
            json[key] = value;
            json
        };
        let features = |pairs: Value| {
            let mut json = written();
            json["features"][HOOK] = pairs;
            json
        };
        let mut unknown = written();
        unknown["features"]["blocks.2.hook_resid_pst"] = json!([]);
        let mut alias = written();
        alias["features"]["blocks.2.hook_resid_post "] = json!([]);
        let cases = [
            (json!([5, 262, " a", -1.2]), "expected a token as an object"),
            (json!({"position": 5}), "missing field `token_id`"),
            (with("text", json!(" a")), "unknown field `text`"),
            (with("token_id", json!(-1)), "expected u32"),
            (with("position", json!(0.5)), "a whole number from 0"),
            (with("logprob", json!(null)), "invalid type: null"),
            (unknown, "did you mean `blocks.2.hook_resid_post`?"),
            (with("d_sae", json!({HOOK: 16})), "`d_sae` has no number for `blocks.0.hook_mlp_out`"),
            (with("features", json!({HOOK: []})), "`d_sae` names `blocks.0.hook_mlp_out`"),
            (features(json!([[16, 1.0]])), "has 16 features; found feature 16"),
            (features(json!([[3, 1.0], [3, 2.0]])), "has feature 3 twice"),
            (features(json!([[3]])), "invalid length 1"),
            (features(json!([[3, 1.0, "a", 4]])), "invalid length 4"),
            (features(json!([[3, 1e39]])), "finite float32"),
            (features(json!([[3, 1.0, 4]])), "expected a string"),
        ];
        for (json, says) in cases {
            let error = serde_json::from_value::<Step>(json.clone()).unwrap_err();
            assert!(error.to_string().contains(says), "{json}: {error}");
        }
        assert!(serde_json::from_value::<Step>(alias).is_err());
    }

    #[test]
    fn two_names_of_one_hook_point_are_refused() {
        let mut json = written();
        json["features"]["blocks.0.hook_mlp"] = json!([]);
        json["d_sae"]["blocks.0.hook_mlp"] = json!(8);

        let error = serde_json::from_value::<Step>(json).unwrap_err();

        assert!(error.to_string().contains("names blocks.0.hook_mlp_out twice"), "{error}");
    }

    proptest! {
        #[test]
        fn sampling_written_as_json_reads_back_as_the_same(
            temperature in 0.0_f32..4.0,
            top_k in prop::option::of(1_usize..100),
            top_p in prop::option::of(0.001_f32..1.0),
            seed in any::<u64>(),
            max_tokens in 1_usize..1000,
            penalties in (-2.0_f32..2.0, -2.0_f32..2.0),
            top_logprobs in 0_usize..20,
        ) {
            let (frequency_penalty, presence_penalty) = penalties;
            let sampling = Sampling {
                temperature, top_k, top_p, seed, max_tokens, frequency_penalty, presence_penalty,
                top_logprobs,
            };
            let json = serde_json::to_string(&sampling).unwrap();
            prop_assert_eq!(serde_json::from_str::<Sampling>(&json).unwrap(), sampling.clone());
            let value = serde_json::to_value(&sampling).unwrap();
            prop_assert_eq!(serde_json::from_value::<Sampling>(value).unwrap(), sampling);
        }
    }

    #[test]
    fn sampling_takes_its_defaults_and_refuses_the_rest() {
        let read = |json: Value| serde_json::from_value::<Sampling>(json);

        assert_eq!(read(json!({})).unwrap(), Sampling::default());
        let some = read(json!({"temperature": 0.7, "top_k": 5, "top_p": null})).unwrap();
        assert_eq!((some.temperature, some.top_k, some.top_p), (0.7, Some(5), None));
        assert_eq!(
            serde_json::to_value(&some).unwrap(),
            json!({
                "temperature": 0.7, "top_k": 5, "top_p": null, "seed": 42, "max_tokens": 128,
                "frequency_penalty": 0.0, "presence_penalty": 0.0, "top_logprobs": 0,
            })
        );
        let cases = [
            (json!([0.7]), "expected sampling parameters as an object"),
            (json!({"temprature": 1}), "unknown field `temprature`"),
            (json!({"temperature": -1}), "temperature is -1"),
            (json!({"temperature": null}), "invalid type: null"),
            (json!({"top_k": 0}), "top-k is 0"),
            (json!({"top_p": 1.5}), "top-p is 1.5"),
            (json!({"max_tokens": 0}), "max-tokens is 0"),
            (json!({"seed": -1}), "expected u64"),
        ];
        for (json, says) in cases {
            let error = read(json.clone()).unwrap_err();
            assert!(error.to_string().contains(says), "{json}: {error}");
        }
    }
}
