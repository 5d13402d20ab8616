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
