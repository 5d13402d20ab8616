//! The published schema and the code accept the same JSON.
//!
//! The validator here knows only the keywords that the schema uses. A library's validator would
//! change the features with which burn's dependencies are built.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use fancy_regex::Regex;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Condition, Intervention, InterventionReport, Plan, Sampling, Step};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../../docs/steering.schema.json");

fn schema() -> &'static Value {
    static PARSED: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(SCHEMA).unwrap());
    &PARSED
}

/// Returns whether `text` matches `pattern`, which is compiled once.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap();
    let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap());
    regex.is_match(text).unwrap()
}

/// Returns whether `value` matches the definition `name`.
fn fits(name: &str, value: &Value) -> bool {
    let root = schema();
    valid(root, &root["$defs"][name], value)
}

fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let rules = match schema {
        Value::Bool(anything) => return *anything,
        Value::Object(rules) => rules,
        other => panic!("{other} is not a schema"),
    };
    let of = |schemas: &Value| {
        let schemas = schemas.as_array().unwrap().iter();
        schemas.filter(|schema| valid(root, schema, value)).count()
    };
    rules.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" | "then" | "else" => true,
        "$ref" => {
            let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            valid(root, &root["$defs"][name], value)
        }
        "anyOf" => of(rule) > 0,
        "oneOf" => of(rule) == 1,
        "allOf" => of(rule) == rule.as_array().unwrap().len(),
        "if" => {
            let branch = if valid(root, rule, value) { "then" } else { "else" };
            rules.get(branch).is_none_or(|branch| valid(root, branch, value))
        }
        "const" => value == rule,
        "enum" => rule.as_array().unwrap().contains(value),
        "type" => match rule.as_str().unwrap() {
            "array" => value.is_array(),
            "object" => value.is_object(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            other => panic!("unknown type {other}"),
        },
        // f64 is enough here: no case lies between a bound and its float64.
        "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
        "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
        "items" => value.as_array().is_none_or(|all| all.iter().all(|v| valid(root, rule, v))),
        "prefixItems" => value.as_array().is_none_or(|all| {
            let mut pairs = rule.as_array().unwrap().iter().zip(all);
            pairs.all(|(rule, v)| valid(root, rule, v))
        }),
        "propertyNames" => value.as_object().is_none_or(|object| {
            object.keys().all(|key| valid(root, rule, &Value::String(key.clone())))
        }),
        "minItems" => value.as_array().is_none_or(|all| all.len() as u64 >= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|all| all.len() as u64 <= rule.as_u64().unwrap()),
        "required" => value.as_object().is_none_or(|object| {
            let mut keys = rule.as_array().unwrap().iter();
            keys.all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            let mut of = object.iter().filter_map(|(key, v)| rule.get(key).map(|rule| (rule, v)));
            of.all(|(rule, v)| valid(root, rule, v))
        }),
        "additionalProperties" => {
            let known = |key: &str| rules.get("properties").is_some_and(|p| p.get(key).is_some());
            value.as_object().is_none_or(|object| {
                object.iter().all(|(key, v)| known(key) || valid(root, rule, v))
            })
        }
        other => panic!("the validator does not know `{other}`"),
    })
}

/// Asserts that the schema and the code agree on an intervention. Returns whether they accept it.
#[track_caller]
fn agreed(value: &Value) -> bool {
    agreed_on::<Intervention>("intervention", value)
}

/// Asserts that the definition `name` and the code agree on `value`. Returns whether they accept
/// it.
#[track_caller]
fn agreed_on<T: DeserializeOwned>(name: &str, value: &Value) -> bool {
    let read = serde_json::from_str::<T>(&value.to_string());
    let fits = fits(name, value);
    match &read {
        Ok(_) => assert!(fits, "the code takes what the schema refuses: {value}"),
        Err(error) => assert!(!fits, "the schema takes what the code refuses: {value}: {error}"),
    }
    fits
}

/// One of each kind.
fn samples() -> Vec<Value> {
    let hook = "blocks.2.hook_resid_post";
    let when = json!({"hook": "blocks.1.hook_mlp", "feature": 12, "above": -2.5});
    vec![
        json!({"hook": hook, "feature": 417, "op": "ablate"}),
        json!({"hook": hook, "feature": 0, "op": "set", "value": 1e-3, "splice": "keep-error"}),
        json!({"hook": hook, "vector": "calm-2", "op": "orthogonal", "value": 0, "scale": "norm"}),
        json!({"hook": hook, "feature": 417, "op": "add", "value": 3, "scale": "unit",
               "at": "generated+special", "rows": [0, 2], "when": when, "splice": "reconstruct"}),
        json!("blocks.2.hook_resid_post:417:add:3"),
        json!({"hook": hook, "feature": 3.0, "op": "ablate", "when": "hook_embed:1>2"}),
    ]
}

#[test]
fn each_kind_is_taken_by_both() {
    for sample in samples() {
        assert!(agreed(&sample), "{sample}");
    }
    let root = schema();
    assert!(valid(root, root, &Value::Array(samples())));
    assert!(!valid(root, root, &samples()[0]), "a file is a list");
}

#[test]
fn the_documents_examples_are_taken_by_both() {
    let document = include_str!("../../../docs/steering.md");
    let blocks = document.split("```json\n").skip(1);
    let examples: Vec<Value> = blocks
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        match example {
            Value::Array(list) => assert!(list.iter().all(agreed)),
            object => assert!(agreed(&object)),
        }
    }
}

#[test]
fn what_the_code_writes_fits_the_schema() {
    let specs = [
        "hook_embed:1:multiply:-3.4028235e38",
        "hook_embed:1:set:1e-45@3..9[2]",
        "hook_embed:1:set_if_active:3.4028235e38@last+special",
        "hook_embed:1:ablate@all",
        "blocks.39.mlp.hook_in:18446744073709551615:add:1:unit@text[0..7]",
        "ln_final.hook_normalized:_a:orthogonal:-0:norm@prompt when hook_embed:7>0.1",
        "hook_embed:1:add:1@generated+special with reconstruct",
    ];
    for spec in specs {
        let spec: Intervention = spec.parse().unwrap();
        assert!(agreed(&serde_json::to_value(&spec).unwrap()), "{spec}");
    }
    let condition: Condition = "blocks.3.attn:5>-1e30".parse().unwrap();
    assert!(fits("condition", &serde_json::to_value(condition).unwrap()));
}

#[test]
fn every_name_of_a_hook_point_is_known_to_both() {
    for hook in HookPoint::all(12) {
        for name in hook.aliases().into_iter().chain([hook.to_string()]) {
            assert!(agreed(&json!({"hook": name, "feature": 1, "op": "ablate"})), "{name}");
        }
    }
    for name in ["", "blocks.01.attn", "blocks.-1.attn", "blocks.1.attn.hook_result", "hook_embed "]
    {
        assert!(!agreed(&json!({"hook": name, "feature": 1, "op": "ablate"})), "{name}");
    }
}

#[test]
fn ops_take_the_same_keys_in_both() {
    let targets = [json!({}), json!({"feature": 1}), json!({"vector": "v"})];
    let targets = targets.into_iter().chain([json!({"feature": 1, "vector": "v"})]);
    let mut taken = 0;
    for target in targets {
        let ops = [
            "multiply",
            "set",
            "set_if_active",
            "ablate",
            "add",
            "orthogonal",
            "projection_scale",
            "projection_cap",
            "boost",
        ];
        for op in ops {
            for value in [None, Some(2)] {
                for scale in [None, Some("raw"), Some("unit"), Some("norm"), Some("big")] {
                    let mut json = target.clone();
                    json["hook"] = "hook_embed".into();
                    json["op"] = op.into();
                    if let Some(value) = value {
                        json["value"] = value.into();
                    }
                    if let Some(scale) = scale {
                        json["scale"] = scale.into();
                    }
                    taken += usize::from(agreed(&json));
                }
            }
        }
    }
    // Three operations on a value, `ablate`, and on either target two on a direction in four ways and
    // two on its component in one.
    assert_eq!(taken, 3 + 1 + 2 * (2 * 4 + 2));
}

#[test]
fn what_is_missing_wrong_or_too_much_is_refused_by_both() {
    let wrong = [
        json!(null),
        json!(true),
        json!(""),
        json!("x"),
        json!("all[0]"),
        json!("3..5+special"),
        json!("text+special"),
        json!(" all"),
        json!(-1),
        json!(1.5),
        json!(1e39),
        json!(18_446_744_073_709_551_615_u64),
        json!(1e19),
        json!([]),
        json!([1]),
        json!([1, 2]),
        json!([0.0, 2]),
        json!([1, 2, 3]),
        json!([-1, 2]),
        json!({}),
    ];
    for sample in samples() {
        let Value::Object(object) = &sample else { continue };
        for key in object.keys() {
            let mut less = object.clone();
            less.remove(key);
            agreed(&less.into());
        }
        let known = schema()["$defs"]["interventionObject"]["properties"].clone();
        for key in known.as_object().unwrap().keys() {
            for value in &wrong {
                // The schema does not describe the text form of a condition.
                if key == "when" && value.is_string() {
                    continue;
                }
                let mut other = object.clone();
                other.insert(key.clone(), value.clone());
                agreed(&other.into());
            }
        }
        let mut more = object.clone();
        more.insert("strength".to_owned(), json!(1));
        assert!(!agreed(&more.into()));
    }
    for key in ["hook", "feature", "above", "below"] {
        for value in &wrong {
            let mut sample = samples().remove(3);
            sample["when"][key] = value.clone();
            agreed(&sample);
        }
        let mut sample = samples().remove(3);
        sample["when"].as_object_mut().unwrap().remove(key);
        assert_eq!(agreed(&sample), key == "below");
    }
    assert!(!agreed(&json!([])) && !agreed(&json!(7)) && !agreed(&json!(null)));
}

#[test]
fn what_a_schema_cannot_say_the_code_refuses() {
    let with = |key: &str, value: Value| {
        let mut json = json!({"hook": "hook_embed", "feature": 1, "op": "ablate"});
        json[key] = value;
        json
    };
    for json in [
        with("at", json!("5..5")),
        with("rows", json!([2, 2])),
        with("when", json!("hook_embed:1")),
        json!("hook_embed:1:boost"),
    ] {
        assert!(fits("intervention", &json), "{json}");
        assert!(serde_json::from_value::<Intervention>(json.clone()).is_err(), "{json}");
    }
}

/// Asserts that the definition `name` and the code agree on `sample` with any key missing or wrong.
#[track_caller]
fn agreed_on_changes_of<T: DeserializeOwned>(name: &str, sample: &Value) {
    assert!(agreed_on::<T>(name, sample), "{name}: {sample}");
    let wrong = [
        json!(null),
        json!(true),
        json!("x"),
        json!(-1),
        json!(0),
        json!(0.5),
        json!(3),
        json!(1e39),
        json!([]),
        json!([null]),
        json!([1]),
        json!(["hook_embed"]),
        json!([[1, 2]]),
        json!([[1, "x"]]),
        json!({}),
        json!({"x": 1}),
        json!({"x": [1]}),
        json!({"9": [1]}),
    ];
    let Value::Object(object) = sample else { panic!("{sample} is not an object") };
    for key in object.keys() {
        let mut less = object.clone();
        less.remove(key);
        agreed_on::<T>(name, &less.into());
    }
    let known = schema()["$defs"][name]["properties"].clone();
    for key in known.as_object().unwrap().keys() {
        for value in &wrong {
            // The schema does not describe the text forms.
            if ["steer", "stop_when"].contains(&key.as_str()) && value[0].is_string() {
                continue;
            }
            let mut other = object.clone();
            other.insert(key.clone(), value.clone());
            agreed_on::<T>(name, &other.into());
        }
    }
    let mut more = object.clone();
    more.insert("strength".to_owned(), json!(1));
    assert!(!agreed_on::<T>(name, &more.into()));
    assert!(!agreed_on::<T>(name, &json!([])) && !agreed_on::<T>(name, &json!(null)));
}

#[test]
fn plans_and_sampling_are_taken_by_both() {
    let plan = json!({
        "track": ["hook_embed"], "track_all": true, "capture": ["blocks.0.attn"],
        "capture_tracked": false, "steer": samples(), "vectors": {"calm": [1, -0.5]},
        "stop_when": [{"hook": "hook_embed", "feature": 1, "above": 2}],
    });
    agreed_on_changes_of::<Plan>("plan", &plan);
    let sampling = json!({
        "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 7, "max_tokens": 3,
        "frequency_penalty": -2, "presence_penalty": 2, "top_logprobs": 4,
    });
    agreed_on_changes_of::<Sampling>("sampling", &sampling);
    assert!(agreed_on::<Sampling>("sampling", &json!({"top_k": null, "top_p": null})));
}

#[test]
fn tokens_and_reports_are_taken_by_both() {
    let plain = json!({"position": 5, "token_id": 262, "token": " a", "logprob": -1.5});
    agreed_on_changes_of::<Step>("token", &plain);
    let mut token = plain;
    token["features"] = json!({"hook_embed": [[417, 3.5], [12, 0.25, "a label"]]});
    token["d_sae"] = json!({"hook_embed": 2048});
    token["top_logprobs"] = json!([[262, -1.5]]);
    assert!(agreed_on::<Step>("token", &token));
    for wrong in [json!([[1]]), json!([[1, 2, "a", 3]]), json!([[-1, 2]]), json!([[1, 2, 3]])] {
        let mut token = token.clone();
        token["features"]["hook_embed"] = wrong;
        assert!(!agreed_on::<Step>("token", &token), "{token}");
    }
    let report = json!({
        "intervention": "hook_embed:1:ablate", "positions": 9, "changed": 3, "moved": 0.25,
    });
    let fields = ["positions", "moved"];
    for (field, wrong) in fields.into_iter().flat_map(|f| [(f, json!(-1)), (f, json!(null))]) {
        let mut report = report.clone();
        report[field] = wrong;
        assert!(!agreed_on::<InterventionReport>("report", &report), "{report}");
    }
    assert!(agreed_on::<InterventionReport>("report", &report));
}
