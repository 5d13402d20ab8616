//! `nanoscope features`, and the flag that it prints to copy.

use serde_json::Value;

use crate::{failure, golden, lines, scratch, stdout};

fn object(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// The feature indices in the output of `nanoscope features --json`.
fn found(answer: &Value) -> Vec<u64> {
    let features = answer["features"].as_array().unwrap();
    features.iter().map(|entry| entry["feature"].as_u64().unwrap()).collect()
}

const DOGS: &str = "Max was a big dog. The dog wagged his tail and barked. The puppy ran to the dog \
                    and they played fetch with a bone.";
const CAKES: &str = "Mom baked a big cake with sugar. The cake was sweet. Then a red car drove down \
                     the road and the car stopped.";

#[test]
fn features_are_listed_with_labels_places_and_a_flag_to_copy() {
    let text = stdout(&["features"]);

    assert!(text.starts_with("blocks.3.hook_resid_post: "), "{text}");
    assert_eq!(text.matches('#').count(), 10, "{text}");
    assert!(text.contains("a «little» girl named Lily"), "{text}");
    assert!(text.contains("nanoscope generate --steer blocks.3.hook_resid_post:"), "{text}");
}

#[test]
fn the_flag_to_copy_can_be_used() {
    let answer = object(&["features", "--json", "--feature", "1909", "--text", DOGS]);

    let steer = answer["steer"].as_str().unwrap();
    assert!(steer.starts_with("blocks.3.hook_resid_post:1909:add:"), "{steer}");
    let story = stdout(&[
        "generate",
        "--json",
        "--prompt",
        "Once upon a time, there was a",
        "--max-tokens",
        "20",
        "--temperature",
        "0",
        "--steer",
        steer,
    ]);
    let story: String =
        lines(&story).iter().filter_map(|line| line["token"].as_str().map(str::to_owned)).collect();
    assert!(story.contains(" dog"), "{story}");
}

/// The last object of `nanoscope generate --json` with `args`.
fn ending(args: &[&str]) -> Value {
    lines(&stdout(&[&["generate", "--json", "--top", "0"], args].concat())).pop().unwrap()
}

#[test]
fn a_word_finds_the_feature_that_writes_it_and_says_why() {
    let answer = object(&["features", "Dog", "--json"]);
    let first = &answer["hits"][0];

    assert_eq!(
        (&first["feature"], &first["hook"]),
        (&1909.into(), &"blocks.3.hook_resid_post".into())
    );
    let why = first["why"].as_str().unwrap();
    assert!(
        why.starts_with("writes \"dog\" in ") && why.contains("; promotes ·dog +0."),
        "{first}"
    );
    assert_eq!(first["steer"], "blocks.3.hook_resid_post:1909:add:35%");
    let scores: Vec<f64> = answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["score"].as_f64().unwrap())
        .collect();
    assert!(scores.len() == 10 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");

    let text = stdout(&["features", "dog", "--top", "2"]);
    assert!(
        text.contains("promotes ·dog") && text.contains("~ ") == text.contains("fires on"),
        "{text}"
    );
    assert!(
        text.contains("nanoscope generate --steer blocks.3.hook_resid_post:1909:add:35%"),
        "{text}"
    );
}

#[test]
fn a_search_can_be_by_what_is_promoted_by_what_it_fires_on_or_by_index() {
    let why = |args: &[&str]| {
        let answer = object(&[&["features", "--json", "--top", "30"], args].concat());
        let hits = answer["hits"].as_array().unwrap().clone();
        hits.iter().map(|hit| hit["why"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let promotes = why(&["--promotes", "rain"]);
    assert!(
        !promotes.is_empty()
            && promotes
                .iter()
                .all(|why| { why.starts_with("promotes ") || why.starts_with("writes \"rain") })
    );
    let fires = why(&["--fires-on", "dog"]);
    assert!(!fires.is_empty() && fires.iter().all(|why| why.starts_with("fires on ")), "{fires:?}");

    let by_index = object(&["features", "--json", "2:7"]);
    assert_eq!(by_index["found"], 1);
    assert_eq!(by_index["hits"][0]["hook"], "blocks.2.hook_resid_post");
    let everywhere = object(&["features", "--json", "7"]);
    assert_eq!(everywhere["found"], 4);
    assert!(stdout(&["features", "xylophonist zebra"]).starts_with("no feature was found"));
    let bare = tempfile::tempdir().unwrap();
    for name in ["cfg.json", "sae_weights.safetensors"] {
        let file = std::path::Path::new("models/demo/saes/layer_2").join(name);
        std::fs::copy(file, bare.path().join(name)).unwrap();
    }
    let (error, _) = failure(&[
        "features",
        "--fires-on",
        "dog",
        "--model",
        "models/demo",
        "--sae",
        bare.path().to_str().unwrap(),
    ]);
    assert!(error.contains("make one with `nanoscope index"), "{error}");
}

#[test]
fn every_line_to_copy_changes_the_text_and_leaves_it_fluent() {
    let words = ["dog", "cat", "bird", "ball", "tree", "happy", "friend", "house", "sun", "rabbit"];
    for word in words {
        let steer = object(&["features", word, "--json", "--top", "1"])["hits"][0]["steer"].clone();
        let steer = steer.as_str().unwrap();
        let mut ratios = Vec::new();
        for begin in ["There was a", "Once upon a time, there was a", "One day, a little girl"] {
            let args = [begin, "--steer", steer, "--compare", "--seed", "1", "-n", "64"];
            let text = stdout(&[&["generate", "--top", "1"], &args[..]].concat());
            let end = ending(&args);
            assert!(text.contains("unsteered:") && text.contains("fluency: "), "{text}");
            assert!(
                !text.contains(&format!(
                    "\nsteered:\n{begin}{}",
                    end["unsteered"].as_str().unwrap()
                ))
            );
            ratios.push(end["fluency"]["ratio"].as_f64().unwrap());
        }
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!(mean < 2.0, "{steer} for {word}: {ratios:?}");
    }
}

#[test]
fn features_are_sorted_by_what_is_asked() {
    for (by, key) in
        [("max", "max_activation"), ("mean", "mean_activation"), ("density", "density")]
    {
        let answer = object(&["features", "--json", "--by", by, "--text", DOGS, "--top", "20"]);

        let features = answer["features"].as_array().unwrap();
        let values: Vec<f64> =
            features.iter().map(|entry| entry["text"][key].as_f64().unwrap()).collect();
        assert_eq!(values.len(), 20);
        assert!(values.is_sorted_by(|a, b| a >= b), "{by}: {values:?}");
    }
}

#[test]
fn features_of_dogs_are_specific_to_a_text_about_dogs() {
    let against = |a, b| object(&["features", "--json", "--text", a, "--against", b]);
    let dogs = against(DOGS, CAKES);
    let cakes = found(&against(CAKES, DOGS));

    // Features of words before and about dogs: they promote " dog" or fire on it.
    for feature in [1909, 1731] {
        assert!(found(&dogs).contains(&feature), "#{feature} is not among {:?}", found(&dogs));
        assert!(!cakes.contains(&feature), "#{feature} is among {cakes:?}");
    }
    for entry in dogs["features"].as_array().unwrap() {
        let mean = |side: &str| entry[side]["mean_activation"].as_f64().unwrap();
        let (score, by_hand) = (entry["score"].as_f64().unwrap(), mean("text") - mean("against"));
        assert!((score - by_hand).abs() < 1e-9, "{entry}");
    }
}

#[test]
fn a_text_longer_than_the_context_is_read_in_pieces() {
    std::fs::create_dir_all(scratch()).unwrap();
    let file = scratch().join("long.txt");
    std::fs::write(&file, "The dog ran to the park. ".repeat(100)).unwrap();
    let read = |more: &[&str]| {
        let file = file.to_str().unwrap();
        let args = ["features", "--json", "--by", "density", "--top", "1", "--text-file", file];
        let answer = object(&[&args, more].concat());
        (answer["tokens"].as_u64().unwrap(), answer)
    };

    let (tokens, answer) = read(&[]);

    // Seven tokens per sentence and a last space, in windows of 256 with a `<|bos|>` each.
    assert_eq!(tokens, 701);
    let fires = answer["features"][0]["text"]["active_tokens"].as_u64().unwrap();
    assert!(fires >= 99, "the same words fire it in every piece, not {fires} times");
    let (with_special, answer) = read(&["--keep-special"]);
    assert_eq!(with_special, 704);
    assert_eq!(answer["keep_special"], true);
}

#[test]
fn a_label_is_found_by_a_word_in_it() {
    let answer = object(&["features", "--json", "--grep", "DOG"]);

    assert!(found(&answer).contains(&1909), "{answer}");
    for entry in answer["features"].as_array().unwrap() {
        assert!(entry["label"].as_str().unwrap().to_lowercase().contains("dog"), "{entry}");
    }
    let text = stdout(&["features", "--grep", "no such word"]);
    assert!(text.contains("0 of 199 labels contain `no such word`"), "{text}");
}

#[test]
fn a_page_counts_special_tokens_of_the_built_in_story_too_if_asked() {
    let page = |flags: &[&str]| stdout(&[&["features", "--feature", "1909"], flags].concat());

    assert!(page(&[]).contains("of 36 tokens of a story"), "{}", page(&[]));
    let with_bos = page(&["--keep-special"]);
    assert!(with_bos.contains("of 37 tokens of a story"), "{with_bos}");
}

#[test]
fn a_features_page_says_what_it_promotes_and_what_is_near() {
    let answer =
        object(&["features", "--json", "--feature", "1909,1731", "--text", DOGS, "--top", "3"]);

    assert_eq!(found(&answer), [1909, 1731]);
    let page = &answer["features"][0];
    assert_eq!(page["promoted"][0]["token"], " dog");
    assert_eq!(page["promoted"].as_array().unwrap().len(), 3);
    assert_eq!(page["suppressed"].as_array().unwrap().len(), 3);
    assert!((page["decoder_norm"].as_f64().unwrap() - 1.0).abs() < 1e-2, "{page}");
    let nearest = page["nearest"].as_array().unwrap();
    let near = object(&["features", "--json", "--near", "1909", "--top", "3"]);
    let ids: Vec<u64> = nearest.iter().map(|entry| entry[0].as_u64().unwrap()).collect();
    assert_eq!(found(&near), ids);

    let text = stdout(&["features", "--feature", "1909", "--text", DOGS]);
    assert!(text.contains("promotes    ·dog +"), "{text}");
}

#[test]
fn features_near_each_other_are_found_without_a_tokenizer() {
    let (alone, sae) = (scratch().join("without_tokenizer"), golden("head/saes/topk"));
    std::fs::create_dir_all(&alone).unwrap();
    for file in std::fs::read_dir(golden("head/base_checkpoints/d4")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), alone.join(file.file_name())).unwrap();
    }
    let args = ["features", "--json", "--model", alone.to_str().unwrap(), "--sae", &sae];
    let at = ["--hook", "blocks.2.hook_mlp", "--near", "3", "--top", "4"];
    let answer = object(&[&args[..], &at].concat());

    assert_eq!(answer["hook"], "blocks.2.hook_mlp_out");
    assert_eq!(answer["features"].as_array().unwrap().len(), 4);
    let steer = answer["steer"].as_str().unwrap();
    assert!(steer.starts_with("blocks.2.hook_mlp_out:") && steer.ends_with(":add:30%"), "{steer}");
    let (error, _) = failure(&args);
    assert!(error.contains("the model has no tokenizer"), "{error}");
}

#[test]
fn excerpts_keep_the_spaces_of_a_tokenizer_that_strips_the_first_one() {
    let answer = object(&[
        "features",
        "--json",
        "--model",
        "models/stories260K",
        "--sae",
        "models/stories260K/saes",
        "--text",
        "The dog was not happy.",
    ]);

    for feature in answer["features"].as_array().unwrap() {
        for place in feature["text"]["strongest"].as_array().unwrap() {
            let text = |key: &str| place[key].as_str().unwrap();
            let whole = format!("{}{}{}", text("before"), text("token"), text("after"));
            assert_eq!(whole, "The dog was not happy.", "{feature}");
        }
    }
}
