use axum::http::StatusCode;
use nanoscope_runtime::LogitEffect;
use serde_json::{Value, json};

use crate::config::Config;
use crate::server_fixture::{D_SAE, HOOK, application, ask, ask_text, served_model};

#[tokio::test]
async fn about_has_the_shapes_of_model_and_saes() {
    let app = application(served_model(), Config::default());

    let (status, about) = ask(&app, "GET", "/api/about", &Value::Null).await;

    assert_eq!(status, StatusCode::OK);
    assert_eq!(about["name"], "tiny");
    assert_eq!(about["model"]["chat"], true);
    assert_eq!(about["device"], "Cpu (Flex)");
    let sae = &about["saes"][0];
    assert_eq!(
        (&sae["source"], &sae["d_sae"], &sae["labels"]),
        (&json!("1-resid_post"), &json!(D_SAE), &json!(1))
    );
    assert_eq!(sae["dashboard"], false);
    let hooks = about["hooks"].as_array().unwrap();
    assert!(hooks.contains(&json!({"name": "hook_embed", "shape": "[batch, seq, 64]"})));
}

#[tokio::test]
async fn a_feature_has_what_its_weights_say() {
    let app = application(served_model(), Config::default());

    let (status, found) = ask(&app, "GET", "/api/saes/1-resid_post/features/7", &Value::Null).await;

    assert_eq!(status, StatusCode::OK);
    let weights = served_model().model.feature_weights(HOOK, &[7], 10).unwrap();
    let effect = LogitEffect::from_effects(weights[0].effects.as_ref().unwrap(), 10);
    assert_eq!(found["label"], "came with it");
    assert_eq!(found["promoted"][0][0], effect.promoted[0].0);
    assert_eq!(found["suppressed"].as_array().unwrap().len(), 10);
    assert_eq!(found["nearest"].as_array().unwrap().len(), 10);
    assert_eq!(found["decoder_norm"], 1.0);
    for absent in ["density", "max", "mean", "top_tokens", "examples"] {
        assert!(found.get(absent).is_none(), "{absent}: there is no dashboard");
    }
    for path in ["1-resid_post/features/64", "1-resid_post/features/x", "0-resid_post/features/1"] {
        let (status, _) = ask(&app, "GET", &format!("/api/saes/{path}"), &Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_in_json() {
    let app = application(served_model(), Config::default());

    for (method, path) in [
        ("GET", "/api/saes/%FF/features/1"),
        ("PUT", "/api/saes/%FF/features/1/label"),
        ("GET", "/assets/%FF"),
    ] {
        let (status, answer) = ask(&app, method, path, &json!({"label": "x"})).await;

        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer["error"]["type"], "invalid_request_error", "{path}");
    }
}

#[tokio::test]
async fn a_label_that_is_put_is_found_and_an_empty_one_takes_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let labels = Some(dir.path().join("labels"));
    let app = application(served_model(), Config { labels, ..Config::default() });
    let put = |label: &str| json!({"label": label});
    let path = "/api/saes/1-resid_post/features/9/label";
    let search = "/api/labels?q=dog";

    let (status, answer) = ask(&app, "PUT", path, &put("  a Dog  ")).await;
    assert_eq!((status, &answer["label"]), (StatusCode::OK, &json!("a Dog")));
    let file = answer["saved"]["file"].as_str().unwrap();
    assert!(std::fs::read_to_string(file).unwrap().contains("a Dog"), "{answer}");
    let (_, about) = ask(&app, "GET", "/api/about", &Value::Null).await;
    assert_eq!(about["saes"][0]["labels_saved"], json!({"file": file, "why_not": null}));
    let (_, found) = ask(&app, "GET", search, &Value::Null).await;
    let hook = "blocks.1.hook_resid_post";
    let expected = json!({"source": "1-resid_post", "hook": hook, "index": 9, "label": "a Dog"});
    assert_eq!(found, json!({"results": [expected]}));

    let (status, _) = ask(&app, "PUT", path, &put("")).await;
    assert_eq!(status, StatusCode::OK);
    let (_, found) = ask(&app, "GET", search, &Value::Null).await;
    assert_eq!(found, json!({"results": []}));
    let (_, found) = ask(&app, "GET", "/api/labels", &Value::Null).await;
    assert_eq!(found["results"][0]["label"], "came with it");

    for body in [json!({}), json!({"label": 7}), put(&"x".repeat(501)), put("a\u{0}b")] {
        let (status, answer) = ask(&app, "PUT", path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer["error"]["param"], "label", "{body}");
    }
    for query in ["limit=0", "limit=x", "limit=1001", "source=nowhere"] {
        let (status, _) = ask(&app, "GET", &format!("/api/labels?{query}"), &Value::Null).await;
        assert!(status.is_client_error(), "{query}: {status}");
    }
}

#[tokio::test]
async fn a_label_that_cannot_be_read_as_it_is_stored_is_refused() {
    let app = application(served_model(), Config::default());
    let path = "/api/saes/1-resid_post/features/9/label";

    for label in [
        "a\u{202e}b",
        "\u{202a}",
        "a\u{2066}b\u{2069}",
        "\u{200e}a",
        "a\u{200f}b",
        "a\u{200b}b",
        "\u{200d}",
        "a\u{feff}b",
        "a\u{ad}b",
        "a\u{7}b",
        "a\nb",
        "a\u{7f}b",
        "a\u{9b}b",
        "\u{e0041}\u{e007f}",
        "\u{3164}",
        "  ",
        "\u{2800}",
    ] {
        let (status, answer) = ask(&app, "PUT", path, &json!({"label": label})).await;

        assert_eq!(status, StatusCode::BAD_REQUEST, "{label:?}");
        assert_eq!(answer["error"]["param"], "label", "{label:?}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.is_ascii() && message.starts_with("label: the "), "{message}");
    }
    let (_, found) = ask(&app, "GET", "/api/labels?q=a", &Value::Null).await;
    assert_eq!(found["results"].as_array().unwrap().len(), 1, "the one that came with the SAE");
}

#[tokio::test]
async fn the_labels_of_an_sae_are_downloaded_as_they_are_read() {
    let app = application(served_model(), Config::default());
    let put = json!({"label": "a \"dog\""});
    let (_, answer) = ask(&app, "PUT", "/api/saes/1-resid_post/features/9/label", &put).await;
    assert_eq!(answer["saved"], json!({"file": null, "why_not": null}), "in memory only");

    let (status, labels) =
        ask_text(&app, "GET", "/api/saes/1-resid_post/labels", &Value::Null).await;

    assert_eq!(status, StatusCode::OK);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("labels.json"), labels).unwrap();
    let read = nanoscope_checkpoint::Labels::read(dir.path(), D_SAE).unwrap();
    assert_eq!(read.iter().collect::<Vec<_>>(), [(7, "came with it"), (9, "a \"dog\"")]);
    let (status, _) = ask(&app, "GET", "/api/saes/nowhere/labels", &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
