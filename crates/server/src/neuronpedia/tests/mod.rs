//! What the interface says is what the runtime computes.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use nanoscope_runtime::{Intervention, Plan, Sampling};
use nanoscope_transformer::TokenBatch;
use serde_json::{Value, json};

use crate::config::{Config, Limits};
use crate::served_model::Scope;
use crate::server_fixture::{CONTEXT, D_SAE, HOOK, application, ask, ask_text, scope};

const TEXT: &str = "a dog ran";
const SOURCE: &str = "1-resid_post";

/// What is wrong with a request.
type Change = fn(&mut Value);
type Owned<'c> = &'c dyn Fn(&mut Value);

fn app() -> Router {
    application(scope(), Config::default())
}

fn ids(text: &str) -> Vec<u32> {
    std::iter::once(256).chain(text.bytes().map(u32::from)).collect()
}

/// The SAE's features of `text`, a row of all of them for each token.
fn dense(scope: &Scope, text: &str) -> Vec<Vec<f32>> {
    let tokens = TokenBatch::new(&[ids(text)]).unwrap();
    let run = scope.model.run(&tokens, &Plan::new().track(HOOK)).unwrap();
    run.features[&HOOK].to_dense().chunks(D_SAE).map(<[f32]>::to_vec).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

async fn good(app: &Router, path: &str, body: Value) -> Value {
    let (status, answer) = ask(app, "POST", path, &body).await;
    assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
    answer
}

/// The message and the field of a refusal.
async fn refused(app: &Router, path: &str, body: Value) -> (String, String) {
    let (status, answer) = ask(app, "POST", path, &body).await;
    assert!(status.is_client_error(), "{path} {body}: {status} {answer}");
    let error = &answer["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (text("message"), text("param"))
}

#[tokio::test]
async fn single_gives_the_dense_encoding_of_one_feature() {
    let (app, rows) = (app(), dense(&scope(), TEXT));
    let feature = (0..D_SAE).max_by(|&a, &b| rows[3][a].total_cmp(&rows[3][b])).unwrap();
    let expected: Vec<f32> = rows[1..].iter().map(|row| row[feature]).collect();
    assert!(expected[2] > 0.0);

    for index in [json!(feature), json!(feature.to_string())] {
        let body = json!({"prompt": TEXT, "model": "tiny", "source": SOURCE, "index": index});
        let answer = good(&app, "/v1/activation/single", body).await;

        let activation = &answer["activation"];
        assert_eq!(floats(&activation["values"]), expected);
        let at = activation["maxValueIndex"].as_u64().unwrap() as usize;
        assert!(expected.iter().all(|&value| value <= expected[at]));
        assert_eq!(floats(&json!([activation["maxValue"]])), [expected[at]]);
        assert_eq!(answer["tokens"].as_array().unwrap().len(), TEXT.len());
        assert_eq!(answer["tokens"][0], "a");
        assert_eq!(answer["tokensIsSpecial"][0], false);
    }
}

#[tokio::test]
async fn single_along_a_vector_gives_inner_products_with_bos() {
    let scope = scope();
    let tokens = TokenBatch::new(&[ids(TEXT)]).unwrap();
    let run = scope.model.run(&tokens, &Plan::new().capture(HOOK)).unwrap();
    let activations = run.captured.get(HOOK).unwrap().to_vec();
    let mut vector = vec![0.0; 64];
    vector[5] = 2.0;

    let body = json!({"prompt": TEXT, "model": "tiny", "vector": vector, "hook": HOOK.to_string()});
    let answer = good(&app(), "/v1/activation/single", body).await;

    let expected: Vec<f32> = activations.chunks(64).map(|row| 2.0 * row[5]).collect();
    assert_eq!(floats(&answer["activation"]["values"]), expected);
    assert_eq!(answer["tokens"][0], "<|bos|>");
    assert_eq!(answer["tokensIsSpecial"][0], true);
}

#[tokio::test]
async fn top_k_by_token_gives_the_strongest_features_of_each() {
    let scope = scope();
    let run = scope.model.run(&TokenBatch::new(&[ids(TEXT)]).unwrap(), &Plan::new().track(HOOK));
    let features = &run.unwrap().features[&HOOK];

    for ignore_bos in [false, true] {
        let body = json!({"prompt": TEXT, "model": "tiny", "source": HOOK.to_string(),
            "ignoreBos": ignore_bos, "topK": 3});
        let answer = good(&app(), "/v1/activation/topk-by-token", body).await;

        let from = usize::from(ignore_bos);
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), TEXT.len() + 1 - from);
        for (at, result) in results.iter().enumerate() {
            assert_eq!(result["tokenPosition"], at + from);
            let found: Vec<(u32, f32)> = result["topFeatures"]
                .as_array()
                .unwrap()
                .iter()
                .map(|top| {
                    let index = top["featureIndex"].as_u64().unwrap() as u32;
                    (index, top["activationValue"].as_f64().unwrap() as f32)
                })
                .collect();
            assert_eq!(found, features.strongest(at + from, 3));
        }
    }
}

#[tokio::test]
async fn all_ranks_features_by_their_largest_value_or_their_sum_at_tokens() {
    let (app, rows) = (app(), dense(&scope(), TEXT));
    let column = |feature: usize| rows.iter().map(move |row| row[feature]).collect::<Vec<f32>>();
    let ask = |sort: Value, ignore: bool, most: usize| {
        json!({"prompt": TEXT, "model": "tiny", "sourceSet": "resid_post", "selectedSources": [],
            "sortByTokenIndexes": sort, "ignoreBos": ignore, "numResults": most})
    };

    let answer = good(&app, "/v1/activation/all", ask(json!([]), false, 5)).await;

    let keys = |key: &dyn Fn(Vec<f32>) -> f32| {
        let mut keys: Vec<(usize, f32)> = (0..D_SAE).map(|f| (f, key(column(f)))).collect();
        keys.sort_by(|a, b| b.1.total_cmp(&a.1));
        keys
    };
    let expected = keys(&|values| values.into_iter().fold(0.0, f32::max));
    let found = answer["activations"].as_array().unwrap();
    assert_eq!(found.len(), 5);
    for (found, (feature, max)) in found.iter().zip(expected) {
        assert_eq!(
            (found["source"].as_str(), found["index"].as_u64()),
            (Some(SOURCE), Some(feature as u64))
        );
        assert_eq!(floats(&json!([found["maxValue"]])), [max]);
        assert_eq!(floats(&found["values"]), column(feature));
        assert_eq!(found["sumValues"], 0.0);
    }

    let answer = good(&app, "/v1/activation/all", ask(json!([2, 3]), false, 1000)).await;

    let expected = keys(&|values| values[2] + values[3]);
    let found = answer["activations"].as_array().unwrap();
    assert!(!found.is_empty());
    assert_eq!(found.len(), expected.iter().filter(|(_, key)| *key > 0.0).count());
    assert_eq!(floats(&json!([found[0]["sumValues"]])), [expected[0].1]);
    assert_eq!(found[0]["index"], expected[0].0);

    let answer = good(&app, "/v1/activation/all", ask(json!([]), true, 1000)).await;
    for found in answer["activations"].as_array().unwrap() {
        assert_eq!(found["values"][0], 0.0);
    }
}

#[tokio::test]
async fn source_gives_what_is_not_zero_and_batches_give_what_single_ones_do() {
    let (app, rows) = (app(), dense(&scope(), TEXT));

    let body = json!({"prompts": [TEXT, "hi"], "model": "tiny", "source": SOURCE});
    let answer = good(&app, "/v1/activation/source", body).await;

    let active = answer["results"][0]["activeFeatures"].as_object().unwrap();
    let mut count = 0;
    for (feature, places) in active {
        for place in places.as_array().unwrap() {
            let (at, value) = (place[0].as_u64().unwrap() as usize, floats(&json!([place[1]]))[0]);
            assert_eq!(rows[at][feature.parse::<usize>().unwrap()], value);
            count += 1;
        }
    }
    assert_eq!(count, rows[1..].iter().flatten().filter(|&&value| value != 0.0).count());
    assert_eq!(answer["results"][1]["tokens"], json!(["<|bos|>", "h", "i"]));

    let cases = [
        ("single", json!({"source": SOURCE, "index": "3"})),
        ("topk-by-token", json!({"source": SOURCE, "ignore_bos": true, "top_k": 2})),
        (
            "all",
            json!({"source_set": "resid_post", "selected_sources": [SOURCE],
            "sort_by_token_indexes": [], "ignore_bos": false, "num_results": 3}),
        ),
    ];
    for (name, fields) in cases {
        let with = |key: &str, value: Value| {
            let mut body = fields.clone();
            body["model"] = json!("default");
            body[key] = value;
            body
        };
        let single =
            good(&app, &format!("/v1/activation/{name}"), with("prompt", json!(TEXT))).await;
        let batch = with("prompts", json!(["hi", TEXT]));
        let batch = good(&app, &format!("/v1/activation/{name}-batch"), batch).await;
        assert_eq!(batch["results"][1], single, "{name}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_a_refusal_that_names_the_field() {
    let app = app();
    let single = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({"prompt": TEXT, "model": "tiny", "source": SOURCE, "index": "3"});
        change(&mut body);
        body
    };
    let long = "x".repeat(CONTEXT);
    let huge = "x".repeat(1_000_000);
    let cases: [(Owned<'_>, &str, &str); 14] = [
        (&|b| drop(b.as_object_mut().unwrap().remove("prompt")), "missing", "prompt"),
        (&|b| drop(b.as_object_mut().unwrap().remove("model")), "missing", "model"),
        (&|b| b["prompt"] = json!(7), "invalid type", "prompt"),
        (&|b| b["prompt"] = json!(""), "empty", "prompt"),
        (&|b| b["prompt"] = json!("<|bos|>"), "empty", "prompt"),
        (&|b| b["prompt"] = json!(long), "49 tokens, the model holds at most 48", "prompt"),
        (&|b| b["prompt"] = json!(huge), "1000000 bytes", "prompt"),
        (&|b| b["model"] = json!("gpt2-small"), "`tiny`, not `gpt2-small`", "model"),
        (&|b| b["source"] = json!("8-res-jb"), "there are 1-resid_post", "source"),
        (&|b| b["index"] = json!(D_SAE), "it has 0 to 63", "index"),
        (&|b| b["index"] = json!("-1"), "no feature's index", "index"),
        (&|b| b["index"] = json!(1.5), "feature's index", "index"),
        (&|b| drop(b.as_object_mut().unwrap().remove("index")), "exactly one of", ""),
        (&|b| b["vector"] = json!([1.0]), "exactly one of", ""),
    ];
    for (change, message, param) in cases {
        let (found, field) = refused(&app, "/v1/activation/single", single(change)).await;
        assert!(found.contains(message), "{found}");
        assert_eq!(field, param, "{found}");
    }
    let vector = |vector: Value, hook: &str| json!({"prompt": TEXT, "model": "tiny", "vector": vector, "hook": hook});
    for (vector, message) in [
        (vector(json!([1.0]), "blocks.1.hook_resid_post"), "1 numbers"),
        (vector(json!([1.0]), "blocks.9.hook_resid_post"), "2 blocks"),
        (vector(json!([1.0]), "nowhere"), "unknown hook point"),
        (vector(json!(vec![1e300; 64]), "blocks.1.hook_resid_post"), "float32"),
        (vector(json!([1.0]), "blocks.1.attn.hook_pattern"), "query, key"),
    ] {
        let (found, _) = refused(&app, "/v1/activation/single", vector).await;
        assert!(found.contains(message), "{found}");
    }
    let all = |key: &str, value: Value| {
        let mut body = json!({"prompt": TEXT, "model": "tiny", "sourceSet": "resid_post",
            "selectedSources": [], "sortByTokenIndexes": [], "ignoreBos": false});
        body[key] = value;
        body
    };
    for (key, value, message) in [
        ("sourceSet", json!("res-jb"), "there are resid_post"),
        ("selectedSources", json!(["9-x"]), "selectedSources[0]"),
        ("sortByTokenIndexes", json!([10]), "there is no token 10"),
        ("sortByTokenIndexes", json!([2, 3, 2]), "token 2 is there twice"),
        ("sortByTokenIndexes", json!(vec![0; 100_000]), "token 0 is there twice"),
        ("sortByTokenIndexes", json!([-1]), "sortByTokenIndexes[0]"),
        ("numResults", json!(-5), "numResults"),
        ("ignoreBos", json!("yes"), "ignoreBos"),
    ] {
        let (found, _) = refused(&app, "/v1/activation/all", all(key, value)).await;
        assert!(found.contains(message), "{found}");
    }
    good(&app, "/v1/activation/all", all("numResults", json!(u32::MAX))).await;
    let prompts = json!({"prompts": vec!["a"; 65], "model": "tiny", "source": SOURCE});
    assert_eq!(refused(&app, "/v1/activation/source", prompts).await.1, "prompts");
    let prompts = json!({"prompts": ["a", ""], "model": "tiny", "source": SOURCE});
    assert_eq!(refused(&app, "/v1/activation/source", prompts).await.1, "prompts[1]");
    let top =
        json!({"prompt": TEXT, "model": "tiny", "source": SOURCE, "ignoreBos": true, "topK": 0});
    assert_eq!(refused(&app, "/v1/activation/topk-by-token", top).await.1, "topK");
}

#[tokio::test]
async fn tokenize_puts_bos_before_unless_it_is_told_not_to() {
    let app = app();
    for (bos, tokens) in [(json!(null), json!([256, 104, 105])), (json!(false), json!([104, 105]))]
    {
        let body = json!({"model": "tiny", "text": "hi", "prependBos": bos});
        let answer = good(&app, "/v1/tokenize", body).await;

        assert_eq!(answer["tokens"], tokens);
        assert_eq!(answer["prependBos"], tokens.as_array().unwrap().len() == 3);
        assert_eq!(answer["tokenStrings"].as_array().unwrap().last().unwrap(), "i");
    }
}

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

/// What the runtime writes after [`TEXT`], steered with `specs` everywhere.
fn written(specs: &[&str]) -> (String, Vec<f32>) {
    let scope = scope();
    let plan = specs
        .iter()
        .fold(Plan::new(), |plan, spec| plan.intervene(spec.parse::<Intervention>().unwrap()));
    let steps: Vec<_> =
        scope.model.generate(&ids(TEXT), &plan, &Sampling::greedy(6)).unwrap().collect();
    let text = steps.iter().map(|step| step.text.as_str()).collect();
    (text, steps.iter().map(|step| step.logprob).collect())
}

#[tokio::test]
async fn both_types_are_what_the_runtime_writes_with_and_without_steering() {
    let app = app();
    let (default, logprobs) = written(&[]);
    let decoder = {
        // The SAE's decoder is the unit matrix.
        let mut vector = vec![0.0; 64];
        vector[7] = 1.0;
        vector
    };
    let cases: [(Value, &str); 5] = [
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
            "blocks.1.hook_resid_post:7:orthogonal:200@all",
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
        // Greedy: what was taken is the likeliest.
        assert_eq!(top[0]["token"], found["token"]);
    }
}

#[tokio::test]
async fn each_piece_of_a_stream_has_the_text_so_far() {
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
async fn steering_that_ends_before_a_word_is_no_empty_answer() {
    let limits = Limits { time: Duration::ZERO, ..Limits::default() };
    let late = application(scope(), Config { limits, ..Config::default() });
    let cases: [(&Router, Change, u16, &str); 2] =
        [(&late, |_| {}, 503, "time_out"), (&app(), huge, 400, "not_finite")];
    for (app, change, expected, code) in cases {
        let (status, answer) = ask(app, "POST", "/v1/steer/completion", &steer(change)).await;

        assert_eq!(status.as_u16(), expected, "{answer}");
        assert_eq!(answer["error"]["code"], code);

        let mut streamed = steer(change);
        streamed["stream"] = json!(true);
        let (status, stream) = ask_text(app, "POST", "/v1/steer/completion", &streamed).await;

        assert_eq!(status, StatusCode::OK);
        assert!(stream.contains(&format!("\"code\":\"{code}\"")), "{stream}");
    }
}

#[tokio::test]
async fn a_chat_comes_back_with_the_answer_behind_it() {
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
    let scope = scope();
    let plan = |spec: &str| Plan::new().intervene(spec.parse().unwrap());
    let prompt = scope.model.tokenizer().unwrap().chat_prompt("hi").unwrap();
    for (answer, at) in [(&answer, "all"), (&other, "text")] {
        let plan = plan(&format!("blocks.1.hook_resid_post:7:add:200@{at}"));
        let steps = scope.model.generate(&prompt, &plan, &Sampling::greedy(6)).unwrap();
        let text: String = steps.map(|step| step.text).collect();
        assert_eq!(answer["outputs"][0]["chatTemplate"][1]["content"], text.as_str(), "{at}");
    }
}

#[tokio::test]
async fn steering_that_cannot_be_done_is_refused_by_field() {
    let app = app();
    let cases: [(Change, &str, &str); 19] = [
        (|b| drop(b.as_object_mut().unwrap().remove("freqPenalty")), "missing", "freqPenalty"),
        (|b| b["steerMethod"] = json!("PROJECTION_CAP"), "not supported", "steerMethod"),
        (|b| b["steerMethod"] = json!("X"), "unknown variant", "steerMethod"),
        (|b| b["types"] = json!([]), "none", "types"),
        (|b| b["types"] = json!(["STEERED", "STEERED"]), "once", "types"),
        (|b| b["nCompletionTokens"] = json!(0), "1 or more", "nCompletionTokens"),
        (|b| b["temperature"] = json!(-1), "0 or more", "temperature"),
        (|b| b["freqPenalty"] = json!(3), "−2 to 2", "freqPenalty"),
        (|b| b["seed"] = json!(1e300), "2^53", "seed"),
        (|b| b["nLogprobs"] = json!(11), "0 to 10", "nLogprobs"),
        (|b| b["vectors"] = json!([]), "exactly one", ""),
        (|b| b["features"][0]["index"] = json!(64), "0 to 63", "features[0].index"),
        (|b| b["features"][0]["source"] = json!("x"), "no source", "features[0].source"),
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
        let (found, field) = refused(&app, "/v1/steer/completion", steer(change)).await;
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
        let (found, field) = refused(&app, "/v1/steer/completion-chat", chat(change)).await;
        assert_eq!(field, param, "{found}");
    }
    // A zero vector has no direction; the runtime says so.
    let body = steer(|b| {
        b.as_object_mut().unwrap().remove("features");
        b["vectors"] = json!([{"steeringVector": vec![0.0; 64], "strength": 1, "hook": "blocks.0.hook_resid_post"}]);
    });
    let (found, _) = refused(&app, "/v1/steer/completion", body).await;
    assert!(found.contains("is 0"), "{found}");
}
