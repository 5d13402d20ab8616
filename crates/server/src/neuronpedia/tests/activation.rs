use nanoscope_runtime::Plan;
use nanoscope_transformer::TokenBatch;
use serde_json::{Value, json};

use super::{SOURCE, TEXT, app, dense, floats, good, ids, rejected};
use crate::server_fixture::{CONTEXT, D_SAE, HOOK, served_model};

type Change<'c> = &'c dyn Fn(&mut Value);

#[tokio::test]
async fn single_returns_the_dense_encoding_of_one_feature() {
    let (app, rows) = (app(), dense(&served_model(), TEXT));
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
async fn single_along_a_vector_returns_inner_products_with_bos() {
    let served = served_model();
    let tokens = TokenBatch::new(&[ids(TEXT)]).unwrap();
    let run = served.model.run(&tokens, &Plan::new().capture(HOOK)).unwrap();
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
    let served = served_model();
    let run = served.model.run(&TokenBatch::new(&[ids(TEXT)]).unwrap(), &Plan::new().track(HOOK));
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
    let (app, rows) = (app(), dense(&served_model(), TEXT));
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
async fn source_returns_nonzero_values_and_batches_equal_single_requests() {
    let (app, rows) = (app(), dense(&served_model(), TEXT));

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
async fn an_invalid_request_is_rejected_with_the_name_of_the_field() {
    let app = app();
    let single = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({"prompt": TEXT, "model": "tiny", "source": SOURCE, "index": "3"});
        change(&mut body);
        body
    };
    let long = "x".repeat(CONTEXT);
    let huge = "x".repeat(1_000_000);
    let cases: [(Change<'_>, &str, &str); 14] = [
        (&|b| drop(b.as_object_mut().unwrap().remove("prompt")), "missing", "prompt"),
        (&|b| drop(b.as_object_mut().unwrap().remove("model")), "missing", "model"),
        (&|b| b["prompt"] = json!(7), "invalid type", "prompt"),
        (&|b| b["prompt"] = json!(""), "empty", "prompt"),
        (&|b| b["prompt"] = json!("<|bos|>"), "empty", "prompt"),
        (&|b| b["prompt"] = json!(long), "49 tokens, which exceeds the context of 48", "prompt"),
        (&|b| b["prompt"] = json!(huge), "1000000 bytes", "prompt"),
        (&|b| b["model"] = json!("gpt2-small"), "`tiny`, not `gpt2-small`", "model"),
        (&|b| b["source"] = json!("8-res-jb"), "available: 1-resid_post", "source"),
        (&|b| b["index"] = json!(D_SAE), "has features 0 to 63", "index"),
        (&|b| b["index"] = json!("-1"), "not a feature index", "index"),
        (&|b| b["index"] = json!(1.5), "expected a feature index", "index"),
        (&|b| drop(b.as_object_mut().unwrap().remove("index")), "exactly one of", ""),
        (&|b| b["vector"] = json!([1.0]), "exactly one of", ""),
    ];
    for (change, message, param) in cases {
        let (found, field) = rejected(&app, "/v1/activation/single", single(change)).await;
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
        let (found, _) = rejected(&app, "/v1/activation/single", vector).await;
        assert!(found.contains(message), "{found}");
    }
    let all = |key: &str, value: Value| {
        let mut body = json!({"prompt": TEXT, "model": "tiny", "sourceSet": "resid_post",
            "selectedSources": [], "sortByTokenIndexes": [], "ignoreBos": false});
        body[key] = value;
        body
    };
    for (key, value, message) in [
        ("sourceSet", json!("res-jb"), "available: resid_post"),
        ("selectedSources", json!(["9-x"]), "selectedSources[0]"),
        ("sortByTokenIndexes", json!([10]), "token 10 is out of range"),
        ("sortByTokenIndexes", json!([2, 3, 2]), "token 2 occurs twice"),
        ("sortByTokenIndexes", json!(vec![0; 100_000]), "token 0 occurs twice"),
        ("sortByTokenIndexes", json!([-1]), "sortByTokenIndexes[0]"),
        ("numResults", json!(-5), "numResults"),
        ("ignoreBos", json!("yes"), "ignoreBos"),
    ] {
        let (found, _) = rejected(&app, "/v1/activation/all", all(key, value)).await;
        assert!(found.contains(message), "{found}");
    }
    good(&app, "/v1/activation/all", all("numResults", json!(u32::MAX))).await;
    let prompts = json!({"prompts": vec!["a"; 65], "model": "tiny", "source": SOURCE});
    assert_eq!(rejected(&app, "/v1/activation/source", prompts).await.1, "prompts");
    let prompts = json!({"prompts": ["a", ""], "model": "tiny", "source": SOURCE});
    assert_eq!(rejected(&app, "/v1/activation/source", prompts).await.1, "prompts[1]");
    let top =
        json!({"prompt": TEXT, "model": "tiny", "source": SOURCE, "ignoreBos": true, "topK": 0});
    assert_eq!(rejected(&app, "/v1/activation/topk-by-token", top).await.1, "topK");
}

#[tokio::test]
async fn tokenize_prepends_bos_unless_told_not_to() {
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
