//! Prompts: their log probabilities, and the special tokens in them.

use burn::tensor::activation::log_softmax;
use nanoscope_runtime::{Plan, Sampling};
use nanoscope_transformer::TokenBatch;
use serde_json::{Value, json};

use crate::test_server::{HOOK, TestServer};

/// The log probability of each token of `ids` but the first, by the tensor library's own function.
fn logprobs(server: &TestServer, ids: &[u32], plan: &Plan) -> Vec<f32> {
    let run = server.model.run(&TokenBatch::new(&[ids.to_vec()]).unwrap(), plan).unwrap();
    let [_, _, vocab] = run.logits.dims();
    let all: Vec<f32> = log_softmax(run.logits, 2).into_data().iter::<f32>().collect();
    ids[1..].iter().enumerate().map(|(at, &id)| all[at * vocab + id as usize]).collect()
}

#[track_caller]
fn assert_scores(choice: &Value, ids: &[u32], expected: &[f32]) {
    let lists = &choice["logprobs"];
    let found = lists["token_logprobs"].as_array().unwrap();
    assert!(found.len() >= ids.len(), "{lists}");
    assert!(found[0].is_null() && lists["top_logprobs"][0].is_null(), "{lists}");
    for (at, expected) in expected.iter().enumerate() {
        let found = found[at + 1].as_f64().unwrap() as f32;
        assert!((found - expected).abs() < 1e-4, "token {}: {found}, not {expected}", at + 1);
        let top = lists["top_logprobs"][at + 1].as_object().unwrap();
        assert!(top.values().any(|value| value.as_f64() == Some(f64::from(found)) || {
            value.as_f64().unwrap() as f32 == found
        }));
    }
    for list in ["tokens", "top_logprobs", "text_offset"] {
        assert_eq!(lists[list].as_array().unwrap().len(), found.len(), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echoed_prompt_has_one_logprob_per_token_and_the_first_is_null() {
    let server = TestServer::new().await;
    let texts = ["the dog and", " cat"];
    let ids = texts.map(|text| server.ids(text));
    let prompts =
        [json!(texts[0]), json!(texts), json!(ids[0]), json!(ids), json!(["the dog and"])];
    for prompt in prompts {
        for max_tokens in [0, 1, 4] {
            let mut body = json!({"prompt": prompt, "max_tokens": max_tokens, "echo": true,
                "logprobs": 1, "temperature": 0});

            let answer = server.complete(&body).await;
            body["stream"] = true.into();
            let chunks = server.post("/v1/completions", &body).await.chunks();

            let choices = answer["choices"].as_array().unwrap();
            for (at, choice) in choices.iter().enumerate() {
                assert_scores(choice, &ids[at], &logprobs(&server, &ids[at], &Plan::new()));
                let count = choice["logprobs"]["tokens"].as_array().unwrap().len();
                let tokens = choice["nanoscope"]["tokens"].as_array().unwrap().len();
                assert!(
                    tokens <= max_tokens && choice["text"].as_str().unwrap().contains(texts[at])
                );
                // A text that ends at once has the token that ended it.
                assert_eq!(count, ids[at].len() + tokens.max(max_tokens.min(1)), "{prompt}");
                let mut streamed: Vec<Value> = Vec::new();
                for chunk in chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == at) {
                    if let Some(list) = chunk["choices"][0]["logprobs"]["token_logprobs"].as_array()
                    {
                        streamed.extend(list.iter().cloned());
                    }
                }
                assert_eq!(json!(streamed), choice["logprobs"]["token_logprobs"]);
            }
            assert_eq!(
                answer["usage"]["prompt_tokens"].as_u64().unwrap() as usize,
                ids[..choices.len()].iter().map(Vec::len).sum::<usize>()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_count_the_characters_before_each_token() {
    let server = TestServer::new().await;
    let body =
        |prompt: Value| json!({"prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 0});

    let text = server.complete(&body(json!("the é dog"))).await;
    let ids = server.complete(&body(json!(server.ids("the é dog")))).await;

    let (text, ids) = (&text["choices"][0], &ids["choices"][0]);
    assert_eq!(text["text"], "the é dog");
    assert_eq!(ids["text"], "<|bos|>the é dog");
    for choice in [text, ids] {
        let whole = choice["text"].as_str().unwrap();
        let lists = &choice["logprobs"];
        let tokens = lists["tokens"].as_array().unwrap();
        for (token, offset) in tokens.iter().zip(lists["text_offset"].as_array().unwrap()).skip(1) {
            let at = offset.as_u64().unwrap() as usize;
            let rest: String = whole.chars().skip(at).collect();
            assert!(rest.starts_with(token.as_str().unwrap()), "{token} at {at} of {whole}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_without_a_generated_token_has_its_features_and_its_steering() {
    let server = TestServer::new().await;
    let spec = format!("{HOOK}:5:add:40");
    let ids = server.ids("the dog");
    let plan = Plan::new().track(HOOK).intervene(spec.parse().unwrap());
    let body = json!({"prompt": "the dog", "max_tokens": 0, "echo": true, "logprobs": 2,
        "nanoscope": {"steer": [spec], "track": ["all"], "prompt": true, "compare": true,
            "stop_when": ["1-resid_post:3>1"]}});

    let answer = server.complete(&body).await;

    let (steered, default) = (&answer["choices"][0], &answer["choices"][1]);
    assert_scores(steered, &ids, &logprobs(&server, &ids, &plan));
    assert_scores(default, &ids, &logprobs(&server, &ids, &Plan::new()));
    assert_eq!(steered["nanoscope"]["prompt"].as_array().unwrap().len(), ids.len());
    assert_eq!(steered["nanoscope"]["applied"][0]["positions"], 2);
    assert_eq!(
        (&steered["text"], &steered["finish_reason"]),
        (&json!("the dog"), &json!("length"))
    );
    assert_eq!(answer["usage"]["completion_tokens"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_fills_the_context_is_scored_only_without_a_generated_token() {
    let server = TestServer::new().await;
    let full = vec![1; crate::test_server::CONTEXT];
    let body = |ids: &[u32], max_tokens: usize| json!({"prompt": ids, "max_tokens": max_tokens, "echo": true, "logprobs": 1});

    let refused = server.post("/v1/completions", &body(&full, 1)).await;
    let longer = server.post("/v1/completions", &body(&[full, vec![1]].concat(), 0)).await;

    assert_eq!((refused.status, longer.status), (400, 400));
    assert!(refused.error().contains("`max_tokens: 0`"), "{}", refused.error());
    assert_eq!(longer.json()["error"]["code"], "context_length_exceeded");
    let generated = json!({"prompt": vec![1; crate::test_server::CONTEXT], "max_tokens": 1});
    let refused = server.post("/v1/completions", &generated).await;
    assert_eq!(refused.json()["error"]["code"], "context_length_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_begins_with_one_bos_however_it_is_written_and_in_both_interfaces() {
    let server = TestServer::new().await;
    let expected = server.ids("the dog");
    for prompt in ["the dog", "<|bos|>the dog", "<|bos|><|bos|>the dog"] {
        for special in [false, true] {
            let body = json!({"prompt": prompt, "max_tokens": 0, "special_tokens": special,
                "nanoscope": {"track": ["all"], "prompt": true}});
            let answer = server.complete(&body).await;
            let tokens = answer["choices"][0]["nanoscope"]["prompt"].as_array().unwrap().clone();
            let found: Vec<_> = tokens.iter().map(|token| token["token_id"].clone()).collect();
            assert_eq!(json!(found), json!(expected), "{prompt}");
            assert!(answer["nanoscope"].get("notes").is_none(), "{answer}");

            let body = json!({"model": "lab", "text": prompt, "specialTokens": special});
            let answer = server.post("/v1/tokenize", &body).await.json();
            assert_eq!(answer["tokens"], json!(expected), "{prompt}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn special_tokens_in_a_prompt_are_characters_with_a_note_unless_asked_for() {
    let server = TestServer::new().await;
    let prompt = "<|user_start|>the dog<|user_end|><|assistant_start|>";
    let tokenizer = server.model.tokenizer().unwrap();
    let chat = tokenizer.chat_prompt("the dog").unwrap();
    let characters = server.ids(prompt);
    let body = json!({"prompt": prompt, "max_tokens": 3, "temperature": 0});
    for (field, expected) in
        [("", &characters), ("special_tokens", &chat), ("parse_special", &chat)]
    {
        let mut body = body.clone();
        if !field.is_empty() {
            body[field] = true.into();
        }

        let answer = server.complete(&body).await;
        body["stream"] = true.into();
        let chunks = server.post("/v1/completions", &body).await.chunks();

        assert_eq!(answer["usage"]["prompt_tokens"], expected.len(), "{field}");
        let steps = server.model.generate(expected, &Plan::new(), &Sampling::greedy(3)).unwrap();
        let text: String = steps.map(|step| step.text).collect();
        assert_eq!(answer["choices"][0]["text"], text, "{field}");
        let notes = &answer["nanoscope"]["notes"];
        assert_eq!(notes.is_null(), !field.is_empty(), "{notes}");
        assert_eq!(&chunks[0]["nanoscope"]["notes"], notes);
        assert!(chunks[1..].iter().all(|chunk| chunk["nanoscope"].get("notes").is_none()));
        if field.is_empty() {
            let note = notes[0].as_str().unwrap();
            for part in ["`<|user_start|>`", "`<|assistant_start|>`", "special_tokens: true"] {
                assert!(note.contains(part), "{note}");
            }
        }
    }
    let messages = json!({"messages": [{"role": "user", "content": "a <|bos|>"}], "max_tokens": 1});
    let answer = server.post("/v1/chat/completions", &messages).await.json();
    assert!(answer["nanoscope"]["notes"][0].as_str().unwrap().contains("`<|bos|>`"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_finite_is_an_error_streamed_or_not() {
    let server = TestServer::new().await;
    let huge = json!(["1-resid_post:5:add:3e38@all", "1-resid_post:5:add:3e38@all"]);
    for body in [
        json!({"prompt": "the", "nanoscope": {"steer": huge}}),
        json!({"prompt": "the", "nanoscope": {"steer": huge}, "max_tokens": 0}),
        json!({"prompt": "the", "nanoscope": {"steer": huge}, "stream": true}),
    ] {
        let answer = server.post("/v1/completions", &body).await;

        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["code"], "not_finite", "{}", answer.error());
    }
}
