//! A `tokenizer.json` by Hugging Face's `tokenizers` gives the same ids as `tokenizers`, or is
//! refused.
#![cfg(feature = "gpt")]

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{CheckpointError, load_tokenizer, save_tokenizer};
use nanoscope_tokenizer::{TokenId, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// `single`: one merge for each token, as nanochat trains them with `tokenizers`. `converted_tokenizer`: every
/// way to split a token is a merge, as transformers converts them from tiktoken's.
const NAMES: [(&str, &str); 2] = [("single", "golden_head"), ("converted_tokenizer", "demo")];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn expected(name: &str) -> Json {
    let path = fixture("hf").join(name).join("tokenizer_expected.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn load(file: &Json) -> Result<Tokenizer, CheckpointError> {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
    load_tokenizer(dir.path())
}

#[test]
fn ids_are_those_of_the_tokenizers_library() {
    for (name, _) in NAMES {
        let tokenizer = load_tokenizer(&fixture("hf").join(name)).unwrap();
        let expected = expected(name);

        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<TokenId> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}");
        }
        assert_eq!(tokenizer.vocab_size() as u64, expected["vocab_size"], "{name}");
        let special: serde_json::Map<String, Json> =
            tokenizer.special_tokens().iter().map(|(t, id)| (t.clone(), json!(id))).collect();
        assert_eq!(Json::Object(special), expected["special_tokens"], "{name}");
    }
}

#[test]
fn the_tokenizer_is_the_one_that_nanochats_own_file_gives() {
    for (name, original) in NAMES {
        let original = load_tokenizer(&fixture("tokenizers").join(original)).unwrap();

        let tokenizer = load_tokenizer(&fixture("hf").join(name)).unwrap();

        // Our own format contains everything about a tokenizer.
        assert_eq!(tokenizer.to_json(), original.to_json(), "{name}");
        let dir = TempDir::new().unwrap();
        save_tokenizer(dir.path(), &tokenizer).unwrap();
        assert_eq!(load_tokenizer(dir.path()).unwrap().to_json(), original.to_json(), "{name}");
    }
}

#[test]
fn merges_may_be_written_as_one_text() {
    let path = fixture("hf/single/tokenizer.json");
    let mut file: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let merges = file["model"]["merges"].as_array_mut().unwrap();
    for merge in merges {
        *merge = json!(format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()));
    }

    let tokenizer = load(&file).unwrap();

    let original = load_tokenizer(&fixture("hf/single")).unwrap();
    assert_eq!(tokenizer.to_json(), original.to_json());
}

/// The result of each merge, in order.
fn made(merges: &[(String, String)]) -> Vec<String> {
    let mut tokens = Vec::new();
    for (left, right) in merges {
        let whole = format!("{left}{right}");
        if !tokens.contains(&whole) {
            tokens.push(whole);
        }
    }
    tokens
}

/// A tokenizer whose pieces are whole texts, with these merges and these tokens after the 256 bytes.
fn tokenizer_of(merges: &[(String, String)], tokens: &[String]) -> Json {
    let mut letters: Vec<char> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').collect();
    letters.extend((256..=323).filter_map(char::from_u32));
    let letters = letters.iter().map(ToString::to_string);
    let vocab = letters.chain(tokens.iter().cloned()).enumerate();
    let vocab: serde_json::Map<String, Json> =
        vocab.map(|(id, token)| (token, json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        // Without it, the tokenizer would be a family's, of any merges.
        "added_tokens": [{"id": vocab.len(), "content": "<|bos|>", "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "(?s:.)+"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": null, "vocab": vocab, "merges": merges},
    })
}

/// Merges a piece as `tokenizers` does: repeatedly joins the pair that is listed first, leftmost first,
/// until no listed pair is left.
fn merged(text: &str, merges: &[(String, String)]) -> Vec<String> {
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let pairs = parts.windows(2).enumerate();
        let ranked = pairs.filter_map(|(at, pair)| {
            let listed = |(l, r): &(String, String)| *l == pair[0] && *r == pair[1];
            Some((merges.iter().position(listed)?, at))
        });
        let Some((_, at)) = ranked.min() else {
            return parts;
        };
        let right = parts.remove(at + 1);
        parts[at] += &right;
    }
}

/// Merges of two existing tokens each, most of which training would never learn.
fn any_merges() -> impl Strategy<Value = Vec<(String, String)>> {
    let choices =
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..7);
    choices.prop_map(|choices| {
        let mut tokens = vec!["a".to_owned(), "b".to_owned()];
        let mut merges: Vec<(String, String)> = Vec::new();
        for (left, right) in choices {
            let merge = (left.get(&tokens).clone(), right.get(&tokens).clone());
            if !merges.contains(&merge) {
                tokens.push(format!("{}{}", merge.0, merge.1));
                merges.push(merge);
            }
        }
        merges
    })
}

proptest! {
    // A third of the vocabularies is accepted.
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn merges_that_are_taken_give_the_ids_of_merging_in_their_order(
        merges in any_merges(),
        swapped in prop::option::of(any::<prop::sample::Index>()),
        texts in prop::collection::vec("[ab]{1,14}", 8),
    ) {
        let mut tokens = made(&merges);
        if let Some(at) = swapped {
            let at = at.index(tokens.len());
            let next = (at + 1) % tokens.len();
            tokens.swap(at, next);
        }
        let Ok(tokenizer) = load(&tokenizer_of(&merges, &tokens)) else {
            return Ok(());
        };
        for text in texts {
            let parts = merged(&text, &merges);
            let ids = tokenizer.encode(&text).unwrap();
            let found: Vec<_> = ids.iter().map(|&id| tokenizer.token_text(id).unwrap()).collect();
            prop_assert_eq!(found, parts, "{:?}", text);
        }
    }
}

#[test]
fn merges_that_tiktoken_would_apply_otherwise_are_refused() {
    let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
    let good = [pair("a", "b"), pair("ab", "a"), pair("ab", "ab")];
    load(&tokenizer_of(&good, &made(&good))).unwrap();
    let in_order: fn(&mut Vec<String>) = |_| {};
    let cases = [
        // `bc` is merged before `ab` can be.
        (
            vec![pair("b", "c"), pair("a", "b"), pair("ab", "c")],
            in_order,
            "token 258 `abc` from its",
        ),
        // By then `ab` does not occur.
        (vec![pair("ab", "ab"), pair("a", "b")], in_order, "token 256 `abab` from its bytes"),
        // `aba` would be `ab`, `a` here and `a`, `ba` there.
        (vec![pair("a", "b"), pair("b", "a")], |tokens| tokens.reverse(), "256 and 257"),
    ];
    for (merges, order, says) in cases {
        let mut tokens = made(&merges);
        order(&mut tokens);
        let error = load(&tokenizer_of(&merges, &tokens)).unwrap_err();

        let CheckpointError::Merges { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(source.to_string().contains(says), "{source}");
    }
}
