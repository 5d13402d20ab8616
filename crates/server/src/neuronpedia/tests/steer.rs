use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use nanoscope_runtime::{Intervention, Plan, Sampling};
use serde_json::{Value, json};

use super::{SOURCE, TEXT, app, good, ids, rejected};
use crate::config::{Config, Limits};
use crate::server_fixture::{CONTEXT, application, ask, ask_text, served_model};

type Change = fn(&mut Value);

fn steer(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({
        "prompt": TEXT, "model": "tiny", "steerMethod": "SIMPLE_ADDITIVE",
        "normalizeSteering": false, "types": ["STEERED", "DEFAULT"], "nCompletionTokens": 6,
        "temperature": 0, "strengthMultiplier": 4, "freqPenalty": 0, "seed": 1,
        "features": [{"model": "tiny", "source": SOURCE, "index": 7, "strength": 50}],
    });
    change(&mut body);
    body
}

/// The runtime's text after [`TEXT`], steered with `specs` at every position.
fn written(specs: &[&str]) -> (String, Vec<f32>) {
    let served = served_model();
    let plan = specs
        .iter()
        .fold(Plan::new(), |plan, spec| plan.intervene(spec.parse::<Intervention>().unwrap()));
    let steps: Vec<_> =
        served.model.generate(&ids(TEXT), &plan, &Sampling::greedy(6)).unwrap().collect();
    let text = steps.iter().map(|step| step.text.as_str()).collect();
    (text, steps.iter().map(|step| step.logprob).collect())
}

#[tokio::test]
async fn both_types_are_what_the_runtime_writes_with_and_without_steering() {
    let app = app();
    let (default, logprobs) = written(&[]);
    let decoder = {
        // The SAE's decoder is the identity matrix.
        let mut vector = vec![0.0; 64];
        vector[7] = 1.0;
        vector
    };
    let cases: [(Value, &str); 6] = [
        (steer(|_| {}), "blocks.1.hook_resid_post:7:add:200@all"),
        (
            steer(|b| b["features"][0]["strength"] = json!(-50)),
            "blocks.1.hook_resid_post:7:add:-200@all",
        ),
        (
            steer(|b| b["normalizeSteering"] = json!(true)),
            "blocks.1.hook_resid_post:7:add:200:unit@all",
        ),
        (
            steer(|b| b["steerMethod"] = json!("ORTHOGONAL_DECOMP")),
            "blocks.1.hook_resid_post:7:projection_scale:200@all",
        ),
        (
            steer(|b| {
                b["steerMethod"] = json!("PROJECTION_CAP");
                b["normalizeSteering"] = json!(true);
                b["features"][0]["strength"] = json!(-50);
            }),
            "blocks.1.hook_resid_post:7:projection_cap:-200@all",
        ),
        (
            steer(|b| {
                b.as_object_mut().unwrap().remove("features");
                b["vectors"] = json!([{"steeringVector": decoder, "strength": 50, "hook": "blocks.1.hook_resid_post"}]);
            }),
            "blocks.1.hook_resid_post:7:add:200@all",
        ),
    ];
    for (body, spec) in cases {
        let (steered, _) = written(&[spec]);
        assert_ne!(steered, default, "{spec} would not show");

        let answer = good(&app, "/v1/steer/completion", body).await;

        assert_eq!(answer["outputs"][0], json!({"type": "STEERED", "output": steered}), "{spec}");
        assert_eq!(answer["outputs"][1], json!({"type": "DEFAULT", "output": default}), "{spec}");
    }
    let body = steer(|b| {
        b["types"] = json!(["DEFAULT"]);
        b["nLogprobs"] = json!(2);
    });
    let answer = good(&app, "/v1/steer/completion", body).await;
    let found = answer["outputs"][0]["logprobs"].as_array().unwrap();
    assert_eq!(found.len(), logprobs.len());
    for (found, expected) in found.iter().zip(logprobs) {
        let logprob = found["logprob"].as_f64().unwrap() as f32;
        assert!((logprob - expected).abs() < 1e-5);
        let top = found["topLogprobs"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        // Greedy sampling takes the most likely token.
        assert_eq!(top[0]["token"], found["token"]);
    }
}

#[tokio::test]
async fn each_event_of_a_stream_has_the_text_so_far() {
    let app = app();
    let whole = good(&app, "/v1/steer/completion", steer(|_| {})).await;

    let (status, stream) =
        ask_text(&app, "POST", "/v1/steer/completion", &steer(|b| b["stream"] = json!(true))).await;

    assert_eq!(status, StatusCode::OK);
    let pieces: Vec<Value> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|piece| serde_json::from_str(piece).unwrap())
        .collect();
    assert_eq!(pieces.len(), 12, "{stream}");
    assert_eq!(pieces.last().unwrap(), &whole);
    for pair in pieces.windows(2) {
        for at in 0..2 {
            let text = |piece: &Value| piece["outputs"][at]["output"].as_str().unwrap().to_owned();
            assert!(text(&pair[1]).starts_with(&text(&pair[0])), "{stream}");
        }
    }
}

fn huge(body: &mut Value) {
    body["strengthMultiplier"] = json!(1);
    let feature = json!({"model": "tiny", "source": SOURCE, "index": 7, "strength": 3e38});
    body["features"] = json!([feature, feature]);
}

#[tokio::test]
async fn steering_that_ends_before_the_first_token_is_an_error() {
    let limits = Limits { request_timeout: Duration::ZERO, ..Limits::default() };
    let late = application(served_model(), Config { limits, ..Config::default() });
    let cases: [(&Router, Change, u16, &str); 2] =
        [(&late, |_| {}, 503, "time_out"), (&app(), huge, 400, "not_finite")];
    for (app, change, expected, code) in cases {
        let (status, answer) = ask(app, "POST", "/v1/steer/completion", &steer(change)).await;

        assert_eq!(status.as_u16(), expected, "{answer}");
        assert_eq!(answer["error"]["code"], code);

        let mut streamed = steer(change);
        streamed["stream"] = json!(true);
        let (status, stream) = ask_text(app, "POST", "/v1/steer/completion", &streamed).await;

        assert_eq!(status.as_u16(), expected, "{stream}");
        assert!(stream.contains(&format!("\"code\":\"{code}\"")), "{stream}");
    }
}

#[tokio::test]
async fn a_chat_is_returned_with_the_answer_at_its_end() {
    let app = app();
    let chat = |special: bool| {
        steer(|b| {
            b["prompt"] = json!([{"role": "user", "content": "hi"}]);
            b["steerSpecialTokens"] = json!(special);
        })
    };

    let answer = good(&app, "/v1/steer/completion-chat", chat(true)).await;
    let other = good(&app, "/v1/steer/completion-chat", chat(false)).await;

    let raw = "<|bos|><|user_start|>hi<|user_end|><|assistant_start|>";
    assert_eq!(answer["input"]["raw"], raw);
    assert_eq!(answer["input"]["chatTemplate"], json!([{"role": "user", "content": "hi"}]));
    for (at, kind) in ["STEERED", "DEFAULT"].into_iter().enumerate() {
        let output = &answer["outputs"][at];
        assert_eq!(output["type"], kind);
        assert_eq!(output["chatTemplate"][1]["role"], "assistant");
        let text = output["chatTemplate"][1]["content"].as_str().unwrap();
        assert_eq!(output["raw"].as_str().unwrap(), format!("{raw}{text}"));
    }
    let served = served_model();
    let plan = |spec: &str| Plan::new().intervene(spec.parse().unwrap());
    let prompt = served.model.tokenizer().unwrap().chat_prompt("hi").unwrap();
    for (answer, at) in [(&answer, "all"), (&other, "text")] {
        let plan = plan(&format!("blocks.1.hook_resid_post:7:add:200@{at}"));
        let steps = served.model.generate(&prompt, &plan, &Sampling::greedy(6)).unwrap();
        let text: String = steps.map(|step| step.text).collect();
        assert_eq!(answer["outputs"][0]["chatTemplate"][1]["content"], text.as_str(), "{at}");
    }
}

#[tokio::test]
async fn invalid_steering_is_rejected_by_field() {
    let app = app();
    let cases: [(Change, &str, &str); 18] = [
        (|b| drop(b.as_object_mut().unwrap().remove("freqPenalty")), "missing", "freqPenalty"),
        (|b| b["steerMethod"] = json!("X"), "unknown variant", "steerMethod"),
        (|b| b["types"] = json!([]), "empty", "types"),
        (|b| b["types"] = json!(["STEERED", "STEERED"]), "at most once", "types"),
        (|b| b["nCompletionTokens"] = json!(0), "1 or more", "nCompletionTokens"),
        (|b| b["temperature"] = json!(-1), "0 or more", "temperature"),
        (|b| b["freqPenalty"] = json!(3), "−2 to 2", "freqPenalty"),
        (|b| b["seed"] = json!(1e300), "2^53", "seed"),
        (|b| b["nLogprobs"] = json!(11), "0 to 10", "nLogprobs"),
        (|b| b["vectors"] = json!([]), "exactly one", ""),
        (|b| b["features"][0]["index"] = json!(64), "0 to 63", "features[0].index"),
        (|b| b["features"][0]["source"] = json!("x"), "unknown source", "features[0].source"),
        (|b| b["features"][0]["model"] = json!("x"), "not `x`", "features[0].model"),
        (|b| b["features"][0]["strength"] = json!(1e300), "float32", "features[0].strength"),
        (
            |b| b["features"][0]["steeringVector"] = json!([1.0]),
            "1 numbers",
            "features[0].steeringVector",
        ),
        (|b| b["features"][0] = json!({}), "missing", "features[0].model"),
        (|b| b["prompt"] = json!("x".repeat(CONTEXT - 1)), "no room", "prompt"),
        (|b| b["prompt"] = json!(""), "empty", "prompt"),
    ];
    for (change, message, param) in cases {
        let (found, field) = rejected(&app, "/v1/steer/completion", steer(change)).await;
        assert!(found.contains(message), "{found}");
        assert_eq!(field, param, "{found}");
    }
    let chat = |change: Change| {
        steer(|b| {
            b["prompt"] = json!([{"role": "user", "content": "hi"}]);
            b["steerSpecialTokens"] = json!(true);
            change(b);
        })
    };
    let cases: [(Change, &str); 5] = [
        (|b| drop(b.as_object_mut().unwrap().remove("steerSpecialTokens")), "steerSpecialTokens"),
        (|b| b["prompt"] = json!([]), "prompt"),
        (|b| b["prompt"][0]["role"] = json!("tool"), "prompt[0].role"),
        (|b| b["prompt"][0]["content"] = json!("x".repeat(CONTEXT)), "prompt"),
        (|b| b["isAssistantAxis"] = json!(true), "isAssistantAxis"),
    ];
    for (change, param) in cases {
        let (found, field) = rejected(&app, "/v1/steer/completion-chat", chat(change)).await;
        assert_eq!(field, param, "{found}");
    }
    // A zero vector has no direction, which the runtime rejects.
    let body = steer(|b| {
        b.as_object_mut().unwrap().remove("features");
        b["vectors"] = json!([{"steeringVector": vec![0.0; 64], "strength": 1, "hook": "blocks.0.hook_resid_post"}]);
    });
    let (found, _) = rejected(&app, "/v1/steer/completion", body).await;
    assert!(found.contains("is 0"), "{found}");
}
