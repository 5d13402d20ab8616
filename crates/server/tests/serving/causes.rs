//! The causes of tokens, compared with the library's.

use nanoscope_attribute::{Asked, Report, ReportOptions};
use serde_json::{Value, json};
use std::ops::ControlFlow;

use crate::test_server::{HOOK, TestServer};

/// The report of the model that `server` serves, about the token after `position`.
fn report(server: &TestServer, tokens: &[u32], position: usize, options: &ReportOptions) -> Value {
    let asked = Asked::Token { target: None, contrast: None };
    let attribution = asked.attribute(&server.model, tokens, Some(position), None).unwrap();
    let report = Report::new(&attribution, options, || ControlFlow::Continue(())).unwrap();
    // As it is sent: with the fewest digits that identify a float32.
    serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap()
}

/// The features of a report without their names.
fn unnamed(features: &Value) -> Vec<Value> {
    let unnamed = |feature: &Value| {
        let mut feature = feature.clone();
        let fields = feature.as_object_mut().unwrap();
        fields.remove("auto");
        assert!(fields.remove("label").is_some(), "every listed feature has a name");
        feature
    };
    features.as_array().unwrap().iter().map(unnamed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_with_the_numbers_of_the_library() {
    let server = TestServer::new().await;
    let tokens = server.ids("the cat and the dog");
    let body = json!({"tokens": tokens, "exact": 3, "top": 6, "lens": 2, "alternatives": 4,
        "direct": true, "faithfulness": true});

    let answer = server.post("/api/attribute", &body).await;

    let found = answer.json();
    assert_eq!(answer.status, 200, "{found}");
    let options = ReportOptions {
        exact: 3,
        top: 6,
        lens: 2,
        alternatives: 4,
        direct: true,
        faithfulness: Some(nanoscope_attribute::Rest::Zero),
        ..ReportOptions::default()
    };
    let expected = report(&server, &tokens, tokens.len() - 1, &options);
    assert_eq!(unnamed(&found["features"]), *expected["features"].as_array().unwrap());
    for key in [
        "tokens",
        "target",
        "contrast",
        "metric",
        "hooks",
        "lens",
        "alternatives",
        "components",
        "faithfulness",
        "errors",
        "steer",
        "found",
    ] {
        assert_eq!(found[key], expected[key], "{key}");
    }
    assert_eq!(found["alternatives"].as_array().unwrap().len(), 4);
    // The same question by text, of which what follows the position is not read.
    let text = json!({"prompt": "the cat and the dog", "exact": 3, "top": 6, "direct": true});
    let by_text = server.post("/api/attribute", &text).await.json();
    assert_eq!(by_text["features"], found["features"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_generated_token_has_its_causes() {
    let server = TestServer::new().await;
    let mut body = json!({"prompt": "the dog", "temperature": 0, "max_tokens": 4,
        "nanoscope": {"why": {"top": 3, "exact": 1}}});

    let whole = server.complete(&body).await;
    body["stream"] = true.into();
    let chunks = server.post("/v1/completions", &body).await.chunks();

    let tokens = whole["choices"][0]["nanoscope"]["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 4);
    let mut ids = server.ids("the dog");
    let options = ReportOptions { exact: 1, top: 3, alternatives: 0, ..ReportOptions::default() };
    for (at, token) in tokens.iter().enumerate() {
        let position = ids.len() - 1;
        ids.push(token["token_id"].as_u64().unwrap() as u32);
        let expected = report(&server, &ids, position, &options);
        let why = &token["why"];
        assert_eq!(unnamed(&why["causes"]), *expected["features"].as_array().unwrap(), "{at}");
        assert_eq!(why["target"]["id"], token["token_id"], "{at}");
        assert_eq!(why["contrast"], expected["contrast"], "{at}");
        assert!(why["error_share"][HOOK.to_string()].is_f64(), "{why}");
        assert_eq!(chunks[at + 1]["nanoscope"]["why"], *why, "{at}");
    }
    let without = server.complete(&json!({"prompt": "the dog", "max_tokens": 1})).await;
    assert!(without["choices"][0]["nanoscope"]["tokens"][0].get("why").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_is_refused_by_its_field() {
    let server = TestServer::new().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"prompt": "the dog"});
        body[field] = value;
        body
    };
    let cases = [
        (json!({}), Value::Null, "exactly one of"),
        (with("tokens", json!([1])), Value::Null, "exactly one of"),
        (json!({"tokens": []}), Value::Null, "no tokens"),
        (json!({"tokens": [99_999]}), Value::Null, "vocabulary"),
        (with("position", json!(99)), "position".into(), "outside the text"),
        (with("target", json!(99_999)), "target".into(), "outside the vocabulary"),
        (with("target", json!("no such word")), "target".into(), "tokens"),
        (with("target", json!("x".repeat(1001))), "target".into(), "longer than 1000 bytes"),
        (with("contrast", json!(99_999)), "contrast".into(), "outside the vocabulary"),
        (
            json!({"prompt": "a", "feature": {"source": "1-resid_post", "index": 1}, "lens": 3}),
            "lens".into(),
            "cannot be combined",
        ),
        (with("exact", json!(201)), "exact".into(), "at most 200, found 201"),
        (with("top", json!(-1)), "top".into(), "invalid value"),
        (with("lens", json!(51)), "lens".into(), "at most 50"),
        (with("track", json!(["9-mlp"])), "source".into(), "unknown source"),
        (with("feature", json!({"source": "1-resid_post", "index": 1})), "track".into(), "no SAE"),
        (with("trak", json!([])), "trak".into(), "unknown field"),
        (json!({"prompt": "x".repeat(100_000)}), "prompt".into(), "longer than"),
        (json!({"tokens": vec![1; 5000]}), Value::Null, "the context has"),
    ];
    for (body, param, message) in cases {
        let answer = server.post("/api/attribute", &body).await;
        let brief: String = body.to_string().chars().take(80).collect();
        assert!([400, 404].contains(&answer.status), "{brief}: {}", answer.status);
        let found = answer.error();
        assert!(found.contains(message), "{brief}: {found}");
        assert_eq!(answer.json()["error"]["param"], param, "{brief}: {found}");
    }
}
