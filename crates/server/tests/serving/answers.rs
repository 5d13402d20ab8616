//! Answers, compared with the model's own output.

use std::collections::BTreeMap;

use nanoscope_runtime::{Plan, Sampling, Step};
use serde_json::{Value, json};

use crate::test_server::{HOOK, TestServer};

fn text(steps: &[Step]) -> String {
    steps.iter().map(|step| step.text.as_str()).collect()
}

/// The token ids of a choice.
fn ids(choice: &Value) -> Vec<u64> {
    let tokens = choice["nanoscope"]["tokens"].as_array().unwrap();
    tokens.iter().map(|token| token["token_id"].as_u64().unwrap()).collect()
}

fn ids_of(steps: &[Step]) -> Vec<u64> {
    steps.iter().map(|step| step.token_id.into()).collect()
}

/// The `top` strongest features of a step, in the form of the answer.
fn features(step: &Step, top: usize) -> Vec<(u32, f32)> {
    step.features[&HOOK].strongest(0, top)
}

fn read_features(token: &Value) -> Vec<(u32, f32)> {
    let entries = token["features"][HOOK.to_string()].as_array().unwrap();
    let read = |entry: &Value| {
        let value = entry[1].as_f64().unwrap() as f32;
        (entry[0].as_u64().unwrap() as u32, value)
    };
    entries.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_completion_has_the_text_and_the_features_of_generate() {
    let server = TestServer::new().await;
    let plan = Plan::new().track(HOOK);
    let steps: Vec<_> = server.generate("the dog", &plan, &Sampling::greedy(20)).collect();
    let mut body = json!({"prompt": "the dog", "temperature": 0, "max_tokens": 20,
        "nanoscope": {"track": ["1-resid_post"], "top": 3}});

    let whole = server.complete(&body).await;
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let chunks = server.post("/v1/completions", &body).await.chunks();

    let choice = &whole["choices"][0];
    assert_eq!(choice["text"], text(&steps));
    assert_eq!(ids(choice), ids_of(&steps));
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["nanoscope"]["end"], "max_tokens");
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 20, "total_tokens": 23,
        "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(whole["usage"], usage);
    let tokens = choice["nanoscope"]["tokens"].as_array().unwrap();
    // One chunk for the start, one for each token, one for the end, and one for the usage.
    assert_eq!(chunks.len(), steps.len() + 3);
    for (at, step) in steps.iter().enumerate() {
        let chunk = &chunks[at + 1];
        assert_eq!(chunk["nanoscope"], tokens[at]);
        assert_eq!(tokens[at]["position"], step.position);
        assert_eq!(read_features(&tokens[at]), features(step, 3), "token {at}");
    }
    let streamed: String = chunks[..chunks.len() - 1]
        .iter()
        .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(streamed, text(&steps));
    assert_eq!(chunks[steps.len() + 1]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[steps.len() + 2]["choices"], json!([]));
    assert_eq!(chunks[steps.len() + 2]["usage"]["completion_tokens"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_get_what_each_gets_alone() {
    let server = TestServer::new().await;
    let prompts = ["the", " dog", "the dog and", "a", "the cat and the dog", "é", "x y", "the cat"];

    let answers = prompts.iter().enumerate().map(|(at, prompt)| {
        let body = json!({"prompt": prompt, "seed": at, "max_tokens": 10 + 3 * at,
            "nanoscope": {"track": ["all"]}});
        let server = &server;
        async move { server.complete(&body).await }
    });
    let answers = futures_util::future::join_all(answers).await;

    for (at, (prompt, answer)) in prompts.iter().zip(&answers).enumerate() {
        let sampling = Sampling { seed: at as u64, max_tokens: 10 + 3 * at, ..Sampling::default() };
        let steps: Vec<_> = server.generate(prompt, &Plan::new().track(HOOK), &sampling).collect();
        let choice = &answer["choices"][0];
        assert_eq!(ids(choice), ids_of(&steps), "{prompt}");
        assert_eq!(choice["text"], text(&steps), "{prompt}");
        for (token, step) in choice["nanoscope"]["tokens"].as_array().unwrap().iter().zip(&steps) {
            let expected: BTreeMap<_, _> = features(step, 8).into_iter().collect();
            for (index, value) in read_features(token) {
                assert!((expected[&index] - value).abs() < 1e-5, "{prompt}: {index} is {value}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_n_texts_has_a_seed_of_its_own_and_each_prompt_its_texts() {
    let server = TestServer::new().await;
    let body = json!({"prompt": ["the", " dog"], "n": 2, "seed": 5, "max_tokens": 9, "echo": true});

    let answer = server.complete(&body).await;

    assert_eq!(answer["nanoscope"]["seed"], 5);
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    let expected = [("the", 5), ("the", 6), (" dog", 5), (" dog", 6)];
    for (at, (prompt, seed)) in expected.into_iter().enumerate() {
        let sampling = Sampling { seed, max_tokens: 9, ..Sampling::default() };
        let steps: Vec<_> = server.generate(prompt, &Plan::new(), &sampling).collect();
        let choice = &answer["choices"][at];
        assert_eq!(choice["index"], at);
        assert_eq!(choice["text"], format!("{prompt}{}", text(&steps)));
        assert_eq!(ids(choice), ids_of(&steps));
    }
    // A random seed reproduces the text.
    let drawn = server.complete(&json!({"prompt": "the", "max_tokens": 9})).await;
    let seed = &drawn["nanoscope"]["seed"];
    let again = server.complete(&json!({"prompt": "the", "max_tokens": 9, "seed": seed})).await;
    assert_eq!(ids(&again["choices"][0]), ids(&drawn["choices"][0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_string_ends_the_text_before_it_wherever_tokens_end() {
    let server = TestServer::new().await;
    let sampling = Sampling { seed: 3, max_tokens: 40, ..Sampling::default() };
    let steps: Vec<_> = server.generate("the", &Plan::new(), &sampling).collect();
    let whole = text(&steps);
    // A string across the border of two tokens.
    let borders = 10..steps.len() - 1;
    let stop = borders
        .filter(|&at| !steps[at].text.is_empty() && !steps[at + 1].text.is_empty())
        .map(|at| format!("{}{}", steps[at].text, steps[at + 1].text))
        .find(|stop| stop.chars().count() > 1)
        .unwrap();
    let before = &whole[..whole.find(&stop).unwrap()];
    let mut body = json!({"prompt": "the", "seed": 3, "max_tokens": 40, "stop": ["never", stop],
        "nanoscope": {"steer": ["1-resid_post:7:add:0"]}});

    let answer = server.complete(&body).await;
    body["stream"] = true.into();
    let chunks = server.post("/v1/completions", &body).await.chunks();

    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], before);
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["nanoscope"]["end"], "stop_string");
    // The row stopped at the token that completed the string, so steering was applied up to it.
    let tokens = choice["nanoscope"]["tokens"].as_array().unwrap().len();
    assert!(tokens < 40, "{tokens}");
    let steer = Plan::new().intervene(format!("{HOOK}:7:add:0").parse().unwrap());
    let mut generation = server.generate("the", &steer, &sampling);
    assert_eq!(generation.by_ref().take(tokens).count(), tokens);
    let applied = &choice["nanoscope"]["applied"][0];
    assert_eq!(applied["positions"], generation.applied()[0].positions);
    let mut streamed = String::new();
    for chunk in &chunks {
        streamed += chunk["choices"][0]["text"].as_str().unwrap();
        assert!(before.starts_with(&streamed), "{streamed:?} is not the beginning of {before:?}");
    }
    assert_eq!(streamed, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn logprobs_are_those_of_the_model() {
    let server = TestServer::new().await;
    let sampling = Sampling { top_logprobs: 2, ..Sampling::greedy(6) };
    let steps: Vec<_> = server.generate("the", &Plan::new(), &sampling).collect();

    let body = json!({"prompt": "the", "temperature": 0, "max_tokens": 6, "logprobs": 2});
    let lists = server.complete(&body).await["choices"][0]["logprobs"].take();

    let mut offset = 0;
    for (at, step) in steps.iter().enumerate() {
        assert_eq!(lists["token_logprobs"][at].as_f64().unwrap() as f32, step.logprob);
        assert_eq!(lists["text_offset"][at], offset);
        let top = lists["top_logprobs"][at].as_object().unwrap();
        let name = lists["tokens"][at].as_str().unwrap();
        assert_eq!(top[name].as_f64().unwrap() as f32, step.top_logprobs[0].1);
        assert_eq!(top.len(), 2);
        offset += step.text.chars().count();
    }
    let ids = server.model.tokenizer().unwrap().chat_prompt("the").unwrap();
    let steps: Vec<_> = server.model.generate(&ids, &Plan::new(), &sampling).unwrap().collect();
    let body = json!({"messages": [{"role": "user", "content": "the"}], "temperature": 0,
        "max_tokens": 6, "logprobs": true, "top_logprobs": 2});
    let answer = server.post("/v1/chat/completions", &body).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], text(&steps));
    for (at, step) in steps.iter().enumerate() {
        let entry = &choice["logprobs"]["content"][at];
        let bytes = server.model.tokenizer().unwrap().token_bytes(step.token_id).unwrap();
        assert_eq!(entry["bytes"], json!(bytes));
        assert_eq!(entry["logprob"].as_f64().unwrap() as f32, step.logprob);
        let second = entry["top_logprobs"][1]["logprob"].as_f64().unwrap() as f32;
        assert_eq!(second, step.top_logprobs[1].1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compare_gives_the_steered_text_and_the_one_without_steering() {
    let server = TestServer::new().await;
    let spec = format!("{HOOK}:5:add:40");
    let sampling = Sampling { seed: 11, max_tokens: 12, ..Sampling::default() };
    let steered = Plan::new().track(HOOK).intervene(spec.parse().unwrap());
    let mut generation = server.generate("the dog", &steered, &sampling);
    let with: Vec<_> = generation.by_ref().collect();
    let applied = generation.applied();
    let without: Vec<_> = server.generate("the dog", &Plan::new().track(HOOK), &sampling).collect();
    assert_ne!(ids_of(&with), ids_of(&without), "steering does something");
    let mut body = json!({"prompt": "the dog", "seed": 11, "max_tokens": 12,
        "nanoscope": {"track": ["all"], "steer": ["1-resid_post:5:add:40"], "compare": true}});

    let answer = server.complete(&body).await;
    body["stream"] = true.into();
    let chunks = server.post("/v1/completions", &body).await.chunks();

    for (index, (steps, steered)) in [(&with, true), (&without, false)].into_iter().enumerate() {
        let choice = &answer["choices"][index];
        assert_eq!(ids(choice), ids_of(steps));
        assert_eq!(choice["nanoscope"]["steered"], steered);
        let of_choice = chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == index);
        let streamed: String = of_choice
            .map(|chunk| {
                assert_eq!(chunk["nanoscope"]["steered"], steered);
                chunk["choices"][0]["text"].as_str().unwrap()
            })
            .collect();
        assert_eq!(streamed, text(steps));
    }
    let said = &answer["choices"][0]["nanoscope"]["applied"][0];
    assert_eq!(said["intervention"], spec);
    assert_eq!(said["positions"], applied[0].positions);
    assert_eq!(said["changed"], applied[0].changed);
    assert!((said["moved"].as_f64().unwrap() as f32 - applied[0].moved).abs() < 1e-5);
    assert_eq!(answer["choices"][1]["nanoscope"]["applied"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_in_the_request_steers() {
    let server = TestServer::new().await;
    let values: Vec<f32> = (0..64).map(|at| ((at * 7) % 11) as f32 - 5.0).collect();
    let spec = "blocks.0.hook_resid_post:calm:add:9";
    let plan = Plan::new()
        .vector("calm".parse().unwrap(), values.clone())
        .intervene(spec.parse().unwrap());
    let steps: Vec<_> = server.generate("the", &plan, &Sampling::greedy(8)).collect();

    let answer = server
        .complete(&json!({"prompt": "the", "temperature": 0, "max_tokens": 8,
            "nanoscope": {"steer": [spec], "vectors": {"calm": values}}}))
        .await;

    assert_eq!(ids(&answer["choices"][0]), ids_of(&steps));
    assert_eq!(answer["choices"][0]["nanoscope"]["applied"][0]["positions"], 1 + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_ends_when_a_feature_says_so_and_the_prompt_has_its_features() {
    let server = TestServer::new().await;
    let plan = Plan::new().track(HOOK);
    let steps: Vec<_> = server.generate("the dog", &plan, &Sampling::greedy(10)).collect();
    let generation = server.generate("the dog", &plan, &Sampling::greedy(10));
    let prompt = &generation.prompt_features()[&HOOK];
    let (feature, value) = features(&steps[4], 1)[0];
    let first = steps.iter().position(|s| s.features[&HOOK].get(0, feature) > value - 0.01);
    let first = first.unwrap();

    let answer = server
        .complete(&json!({"prompt": "the dog", "temperature": 0, "max_tokens": 10,
            "nanoscope": {"track": ["blocks.1.hook_resid_post"], "prompt": true, "top": 2,
                "stop_when": [{"hook": "1-resid_post", "feature": feature, "above": value - 0.01}]}}))
        .await;

    let choice = &answer["choices"][0];
    assert_eq!(ids(choice), ids_of(&steps[..=first]));
    assert_eq!(choice["nanoscope"]["end"], "stop_when");
    assert_eq!(choice["finish_reason"], "stop");
    let of_prompt = choice["nanoscope"]["prompt"].as_array().unwrap();
    assert_eq!(of_prompt.len(), 3);
    for (row, token) in of_prompt.iter().enumerate() {
        assert_eq!(read_features(token), prompt.strongest(row, 2));
    }
    assert_eq!(of_prompt[0]["token"], "<|bos|>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_rendered_as_nanochat_does() {
    let server = TestServer::new().await;
    let conversation = json!({"messages": [
        {"role": "system", "content": "the cat"},
        {"role": "user", "content": "the dog"},
        {"role": "assistant", "content": " and"},
        {"role": "user", "content": "x"},
    ]});
    let rendered = server
        .model
        .tokenizer()
        .unwrap()
        .render_conversation(&serde_json::from_value(conversation.clone()).unwrap(), usize::MAX);
    let mut ids = rendered.unwrap().ids;
    ids.extend(server.model.tokenizer().unwrap().special("<|assistant_start|>"));
    let steps: Vec<_> =
        server.model.generate(&ids, &Plan::new(), &Sampling::greedy(8)).unwrap().collect();
    let mut body = conversation;
    body["messages"][0]["role"] = "developer".into();
    body["messages"][1]["content"] = json!([{"type": "text", "text": "the"},
        {"type": "text", "text": " dog"}]);
    body["temperature"] = 0.into();
    body["max_completion_tokens"] = 8.into();

    let answer = server.post("/v1/chat/completions", &body).await.json();

    assert_eq!(answer["choices"][0]["message"]["content"], text(&steps));
    assert_eq!(answer["usage"]["prompt_tokens"], ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn special_tokens_are_left_out_of_a_text_that_is_to_have_none() {
    let server = TestServer::new().await;
    let tokenizer = server.model.tokenizer().unwrap();
    // At this temperature the tokens are drawn from all.
    let sampling = Sampling { temperature: 50.0, seed: 3, max_tokens: 40, ..Sampling::default() };
    let steps: Vec<_> = server.generate("the dog", &Plan::new(), &sampling).collect();
    let is_special = |step: &&Step| tokenizer.is_special(step.token_id);
    assert!(steps.iter().any(|step| is_special(&step)), "the seed draws a special token");
    let mut body = json!({"prompt": "the dog", "temperature": 50, "seed": 3, "max_tokens": 40});

    assert_eq!(server.complete(&body).await["choices"][0]["text"], text(&steps));
    body["skip_special_tokens"] = true.into();
    let choice = &server.complete(&body).await["choices"][0];

    let expected: String =
        steps.iter().filter(|step| !is_special(step)).map(|step| step.text.as_str()).collect();
    assert_eq!(choice["text"], expected);
    assert_eq!(ids(choice), ids_of(&steps));
}
