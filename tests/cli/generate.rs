//! `nanoscope generate`, and output to a closed pipe.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::{CONTINUATION, GREEDY, OPENING, lines, nanoscope, stdout};

#[test]
fn the_demo_tells_nanochats_own_story_with_the_features_of_each_token() {
    let args = [&["generate", "--json", "--prompt", OPENING], &GREEDY[..]].concat();
    let lines = lines(&stdout(&args));

    let (end, tokens) = lines.split_last().unwrap();
    let ids: Vec<u64> = tokens.iter().map(|line| line["token_id"].as_u64().unwrap()).collect();
    assert_eq!(ids[..29], CONTINUATION[..29]);
    assert_eq!(end["end"], "max_tokens");
    for (at, line) in tokens.iter().enumerate() {
        // `<|bos|>` and the four tokens of the opening come first.
        assert_eq!(line["position"].as_u64().unwrap() as usize, 5 + at);
        let features = line["features"]["blocks.3.hook_resid_post"].as_array().unwrap();
        assert!((1..=32).contains(&features.len()), "{} features", features.len());
        let values: Vec<f64> = features.iter().map(|f| f[1].as_f64().unwrap()).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
    }
    let text: String = tokens.iter().map(|line| line["token"].as_str().unwrap()).collect();
    assert!(text.starts_with(", there was a little girl named"), "{text}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = |seed: &str| stdout(&["generate", "--seed", seed, "--max-tokens", "12"]);

    assert_eq!(story("7"), story("7"));
    assert_ne!(story("7"), story("8"));
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let mut child = nanoscope(&["generate", "--json", "--max-tokens", "40"])
        .into_command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();

    let output = child.wait_with_output().unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn spellings_of_special_tokens_are_text_with_a_note_or_tokens_with_a_flag() {
    let count = |args: &[&str]| {
        let run = nanoscope(&["run", "--json", "--prompt"]).args(args).success();
        let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let tokens = value["tokens"][0].as_array().unwrap().clone();
        (tokens, run.stderr)
    };
    let text = "<|user_start|>Tell me<|user_end|>";

    let (plain, said) = count(&[text]);
    assert!(plain.len() > 6, "{plain:?}");
    assert!(said.contains("<|user_start|>, <|user_end|> in the text"), "{said}");
    assert!(said.contains("--special-tokens"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let (special, said) = count(&[text, "--special-tokens"]);
    let texts: Vec<_> = special.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(texts[..2], ["<|bos|>", "<|user_start|>"]);
    assert_eq!(texts.last(), Some(&"<|user_end|>"));
    assert_eq!(said, "");

    // A text with its own `<|bos|>` gets no second one.
    let (own, _) = count(&["<|bos|>Once", "--special-tokens"]);
    assert_eq!(own, count(&["Once"]).0);
}
