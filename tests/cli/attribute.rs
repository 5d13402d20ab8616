//! `nanoscope attribute`, on the built-in demo.

use std::path::Path;

use serde_json::Value;

use crate::{failure, nanoscope, scratch, stdout};

const DOG: &str = "Max was a small dog. The dog loved to chase the";

fn json(args: &[&str]) -> Value {
    let args: Vec<&str> = ["attribute", "--json"].iter().chain(args).copied().collect();
    serde_json::from_str(&stdout(&args)).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The number at `key` of each entry of a list.
fn numbers(list: &Value, key: &str) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|entry| number(&entry[key])).collect()
}

/// A reference prompt: its numbers, and its tokens as an argument.
fn reference(name: &str) -> (Value, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/attribution");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    let ids: Vec<String> =
        reference["tokens"].as_array().unwrap().iter().map(ToString::to_string).collect();
    (reference, ids.join(","))
}

#[test]
fn the_numbers_are_those_of_the_reference() {
    for name in ["frog", "bird"] {
        let (reference, tokens) = reference(name);
        let id = |which: &str| format!("id:{}", reference[which]["id"]);

        let found =
            json(&["--tokens", &tokens, "--target", &id("target"), "--contrast", &id("contrast")]);

        for which in ["target", "contrast"] {
            let (found, reference) = (&found[which], &reference[which]);
            assert_eq!(found["text"], reference["text"], "{name}");
            assert_eq!(found["rank"], reference["rank"], "{name}");
            for key in ["logit", "logprob"] {
                let difference = (number(&found[key]) - number(&reference[key])).abs();
                assert!(difference < 2e-5, "{name}, {which}, {key}: {difference}");
            }
        }
        assert_eq!(found["metric"]["name"], "logit_diff");
        assert_eq!(found["position"], reference["position"]);
        let hooks = reference["hooks"].as_array().unwrap();
        assert_eq!(found["hooks"].as_array().unwrap().len(), hooks.len());
        for (found, reference) in found["hooks"].as_array().unwrap().iter().zip(hooks) {
            let reference = &reference["logit_diff"];
            for key in ["features", "error", "bias", "error_share"] {
                let difference = (number(&found[key]) - number(&reference[key])).abs();
                assert!(difference < 6e-5, "{name}, {key}: {difference}");
            }
        }
        let attributions = numbers(&found["features"], "attribution");
        assert!(attributions.is_sorted_by(|a, b| a.abs() >= b.abs()));
        assert_eq!(attributions.len() as u64, found["found"].as_u64().unwrap());
        let ablated = found["features"].as_array().unwrap();
        let ablated = ablated.iter().filter(|feature| feature.get("ablation").is_some());
        assert_eq!(ablated.count(), 20);
    }
}

#[test]
fn an_ablation_is_what_a_run_with_the_printed_intervention_changes() {
    let (_, tokens) = reference("dog");
    let found = json(&["--tokens", &tokens, "--exact", "3", "--top", "3"]);
    let id = |which: &str| found[which]["id"].as_u64().unwrap() as usize;
    let (target, contrast) = (id("target"), id("contrast"));
    std::fs::create_dir_all(scratch()).unwrap();
    let out = scratch().join("ablated.safetensors");
    let difference = |more: &[&str]| {
        let _ = std::fs::remove_file(&out);
        let args = ["run", "--tokens", &tokens, "--out", out.to_str().unwrap()];
        stdout(&args.iter().chain(more).copied().collect::<Vec<_>>());
        let bytes = std::fs::read(&out).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let logits = file.tensor("logits").unwrap();
        let (logits, _) = logits.data().as_chunks::<4>();
        let last =
            &logits[logits.len() - logits.len() / found["tokens"].as_array().unwrap().len()..];
        f64::from(f32::from_le_bytes(last[target])) - f64::from(f32::from_le_bytes(last[contrast]))
    };

    let clean = difference(&[]);

    assert!((clean - number(&found["metric"]["value"])).abs() < 2e-5);
    for feature in found["features"].as_array().unwrap() {
        let without = difference(&["--steer", feature["steer"].as_str().unwrap()]);
        let exact = number(&feature["ablation"]);
        assert!((clean - without - exact).abs() < 8e-5, "{feature}: {}", clean - without);
        assert!(exact.abs() > 0.1, "the strongest features matter: {feature}");
    }
    assert_eq!(found["steer"], found["features"][0]["steer"]);
}

#[test]
fn without_a_target_it_is_the_token_that_follows_else_the_likeliest() {
    let likeliest = json(&[DOG, "--exact", "0", "--top", "0"]);
    assert_eq!(likeliest["target"]["text"], " dog");
    assert_eq!(
        (&likeliest["target"]["rank"], &likeliest["contrast"]["rank"]),
        (&1.into(), &2.into())
    );

    let text = format!("{DOG} cat");
    let position = likeliest["position"].to_string();
    let written = json(&[&text, "--position", &position, "--exact", "0", "--top", "0"]);
    assert_eq!(written["target"]["text"], " cat");
    assert_eq!(written["contrast"]["text"], " dog");
    assert_eq!(written["texts"], likeliest["texts"], "what follows has no effect");

    let alone = json(&[DOG, "--target", " dog", "--exact", "0", "--top", "0"]);
    assert_eq!((&alone["metric"]["name"], &alone["contrast"]), (&"logprob".into(), &Value::Null));
    let logprob = number(&alone["target"]["logprob"]);
    assert!((number(&alone["metric"]["value"]) - logprob).abs() < 1e-5);
    let against = json(&[DOG, "--contrast", " dog", "--exact", "0", "--top", "0"]);
    assert_eq!((&against["target"]["rank"], &against["contrast"]["rank"]), (&2.into(), &1.into()));
}

#[test]
fn a_feature_is_explained_by_those_before_it() {
    let (reference, tokens) = reference("dog");
    let edge = &reference["edges"][0];
    let hook = edge["hook"].as_str().unwrap();
    let spec = format!("{hook}:{}@{}", edge["feature"], edge["position"]);

    let found = json(&["--tokens", &tokens, "--feature", &spec]);

    assert_eq!(found["metric"]["name"], "pre_activation");
    let difference = (number(&found["metric"]["value"]) - number(&edge["pre"])).abs();
    assert!(difference < 5e-5, "{difference}");
    assert_eq!(
        (&found["target"]["hook"], &found["target"]["feature"]),
        (&edge["hook"], &edge["feature"])
    );
    let sources = found["features"].as_array().unwrap().iter();
    assert!(sources.clone().all(|feature| feature["hook"].as_str().unwrap() < hook));
    assert!(found["alternatives"].as_array().unwrap().is_empty());

    let text = stdout(&["attribute", "--tokens", &tokens, "--feature", &spec, "--top", "2"]);
    assert!(text.starts_with(&format!("{hook}:{}", edge["feature"])), "{text}");
}

#[test]
fn people_read_a_sentence_bars_and_the_line_to_copy() {
    let more = ["--lens", "--direct", "--faithfulness", "--ig-steps", "2"];
    let text = stdout(&[&["attribute", DOG, "--top", "3"], &more[..]].concat());

    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("·dog") && lines[0].contains("rather than"), "{text}");
    assert!(lines[0].contains("logit difference +"), "{text}");
    assert!(text.contains('█') && text.contains("% of what is attributed"), "{text}");
    let parts = ["logit lens", "direct effect on the logits", "with the strongest features alone"];
    for part in parts.into_iter().chain(["integrated gradients sum to", "  ig +", "  direct +"]) {
        assert!(text.contains(part), "{part}: {text}");
    }
    let copy = lines.iter().find(|line| line.contains("nanoscope run")).unwrap();
    assert!(copy.contains(":ablate@") && copy.contains(DOG), "{copy}");
    let words = shlex::split(copy.trim()).unwrap();
    stdout(&words.iter().skip(1).map(String::as_str).collect::<Vec<_>>());
    // Without a text the line has the ids; with special tokens in it, the flag that reads them.
    let by_ids = stdout(&["attribute", "--tokens", "4087,420,31,7", "--exact", "0"]);
    let special = stdout(&["attribute", "--special-tokens", "A<|bos|>B", "--exact", "0"]);
    for (text, expected) in [(by_ids, "--tokens 4087,420,31,7"), (special, "--special-tokens")] {
        let copy = text.lines().find(|line| line.contains("nanoscope run")).unwrap();
        assert!(copy.contains(expected), "{copy}");
        let words = shlex::split(copy.trim()).unwrap();
        let output = nanoscope(&words.iter().skip(1).map(String::as_str).collect::<Vec<_>>());
        assert!(output.success().stdout.contains("changed 1,"), "{copy}");
    }
    // Of the prompt's strongest features, some have another effect than the gradient says.
    let json = json(&[DOG]);
    let marked = |text: &str| text.lines().filter(|line| line.contains('!')).count();
    let disagree = |feature: &&Value| feature.get("disagrees").is_some();
    let wrong = json["features"].as_array().unwrap().iter().filter(disagree).count();
    let all = stdout(&["attribute", DOG, "--top", "20"]);
    assert_eq!(marked(&all), wrong + usize::from(wrong > 0), "{all}");
}

#[test]
fn features_kept_alone_end_with_the_metric_itself() {
    let found = json(&[DOG, "--faithfulness", "--exact", "0", "--top", "0"]);

    let kept = found["faithfulness"]["kept"].as_array().unwrap();
    let counts: Vec<u64> = kept.iter().map(|kept| kept["features"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]);
    let last = kept.last().unwrap();
    assert!((number(&last["share"]) - 1.0).abs() < 0.2, "{last}");
    let (without, value) =
        (number(&found["faithfulness"]["without_features"]), number(&found["metric"]["value"]));
    assert!((value - without).abs() > 0.5, "{without}, {value}");
    let mean = json(&[DOG, "--faithfulness=mean", "--exact", "0", "--top", "0"]);
    let kept = &mean["faithfulness"]["kept"];
    assert_ne!(kept[4]["value"], found["faithfulness"]["kept"][4]["value"], "{kept}");
    assert!((number(&kept[9]["share"]) - 1.0).abs() < 0.2, "{kept}");
}

#[test]
fn a_graph_joins_tokens_features_and_logits() {
    std::fs::create_dir_all(scratch()).unwrap();
    let path = scratch().join("Dog graph.json");
    let _ = std::fs::remove_file(&path);
    stdout(&["attribute", DOG, "--graph", path.to_str().unwrap(), "--graph-features", "60"]);

    let graph: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(graph["metadata"]["slug"], "dog-graph");
    let nodes = graph["nodes"].as_array().unwrap();
    let ids: Vec<&str> = nodes.iter().map(|node| node["node_id"].as_str().unwrap()).collect();
    let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    for kind in ["embedding", "sparse autoencoder", "logit"] {
        assert!(nodes.iter().any(|node| node["feature_type"] == kind), "{kind}");
    }
    let links = graph["links"].as_array().unwrap();
    assert!(links.len() > nodes.len());
    for link in links {
        for end in ["source", "target"] {
            assert!(unique.contains(&link[end].as_str().unwrap()), "{link}");
        }
    }
}

#[test]
fn wrong_questions_are_refused_with_the_reason() {
    let (_, tokens) = reference("once");
    let refused: [(&[&str], &str); 11] = [
        (&[DOG, "--target", "dog dog"], "tokens"),
        (&[DOG, "--target", ""], "not empty"),
        (&[DOG, "--target", "id:4096"], "outside the vocabulary of 4096"),
        (&[DOG, "--target", " dog", "--contrast", " dog"], "the same token"),
        (&[DOG, "--position", "99"], "outside the text"),
        (&[DOG, "--feature", "blocks.0.hook_resid_post:3@2"], "no SAE to attribute to in front of"),
        (&[DOG, "--feature", "blocks.3.hook_resid_post:2048@2"], "no such feature"),
        (&[DOG, "--feature", "blocks.3.hook_resid_post:1@99"], "outside the text"),
        (&[DOG, "--feature", "blocks.3.hook_resid_post:1@2", "--target", " dog"], "cannot be used"),
        (&[DOG, "--track", "blocks.1.hook_mlp_out"], "blocks.1.hook_mlp_out"),
        (&["--tokens", &tokens, "--exact", "few"], "expected a number or `all`"),
    ];
    for (args, reason) in refused {
        let args: Vec<&str> = ["attribute"].iter().chain(args).copied().collect();
        let (text, code) = failure(&args);
        assert!(text.contains(reason), "{args:?}: {text}");
        assert!([1, 2].contains(&code), "{args:?}: {code}");
    }
    let same = ["attribute", DOG, "--graph", "x.json", "--html", "x.json"];
    assert!(failure(&same).0.contains("name the same file"));
    let folder = scratch().join("no such folder/graph.json");
    let (text, _) = failure(&["attribute", DOG, "--graph", folder.to_str().unwrap()]);
    assert!(text.contains("no such folder"), "{text}");
}
