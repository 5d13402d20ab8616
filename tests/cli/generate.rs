//! `nanoscope generate`, and output to a closed pipe.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::{CONTINUATION, GREEDY, OPENING, failure, lines, nanoscope, stdout};

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

#[test]
fn a_text_is_an_argument_or_a_flag_but_not_both() {
    let opening = "There was a dog";
    let generate = |args: &[&str]| stdout(&[&["generate", "-t", "0", "-n", "4"], args].concat());
    let run = |args: &[&str]| stdout(&[&["run", "-j"], args].concat());

    let story = generate(&[opening]);
    assert!(story.contains("\nThere was a dog"), "{story}");
    assert_eq!(story, generate(&["--prompt", opening]));
    assert_eq!(story, generate(&["-p", opening]));
    assert_eq!(generate(&[]), generate(&[OPENING]));
    assert_eq!(run(&[opening]), run(&["--prompt", opening]));

    for command in ["generate", "run"] {
        let (error, code) = failure(&[command, "A", "--prompt", "B"]);
        assert!(error.contains("'[TEXT]' cannot be used with '--prompt <TEXT>'"), "{error}");
        assert_eq!(code, 2);
        assert!(failure(&[command, ""]).0.contains("the prompt is empty"));
    }
    assert!(failure(&["run", "A", "--tokens", "1"]).0.contains("cannot be used with"));
}

#[test]
fn short_flags_are_those_of_every_command() {
    let long = ["--model", "models/stories260K", "--device", "auto", "--temperature", "0.5"];
    let short = ["-m", "models/stories260K", "-d", "auto", "-t", "0.5"];
    let more_long = ["--top-k", "3", "--max-tokens", "5", "--prompt", "Tom", "--json"];
    let more_short = ["-k", "3", "-n", "5", "-p", "Tom", "-j"];

    let generate = |flags: &[&str]| stdout(&[&["generate"], flags].concat());
    assert_eq!(
        generate(&[&long[..], &more_long].concat()),
        generate(&[&short[..], &more_short].concat())
    );

    // A short flag is the same long one wherever it is.
    let meanings = [
        ("-m", "--model"),
        ("-d", "--device"),
        ("-p", "--prompt"),
        ("-n", "--max-tokens"),
        ("-t", "--temperature"),
        ("-k", "--top-k"),
        ("-s", "--steer"),
        ("-o", "--out"),
        ("-j", "--json"),
        ("-h", "--help"),
        ("-V", "--version"),
    ];
    let commands = stdout(&["help"]);
    let (_, commands) = commands.split_once("Commands:\n").unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        let help = stdout(&["help", command]);
        for (short, long) in [("-j", "--json"), ("-m", "--model"), ("-s", "--steer")] {
            let is_flag = |line: &str| {
                line.starts_with("  ") && line.trim_start().starts_with(&format!("{long} "))
            };
            let has_long = help.lines().any(|line| is_flag(&format!("{line} ")));
            assert!(!has_long, "{command}: {long} without {short}");
        }
        for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
            let Some((short, rest)) = line.split_once(", --") else { continue };
            let long = format!("--{}", rest.split(' ').next().unwrap());
            assert!(meanings.contains(&(short, long.as_str())), "{command}: {line}");
        }
    }
}

#[test]
fn a_header_names_the_columns_and_the_only_hook_point() {
    let lines = |args: &[&str]| -> Vec<String> {
        let text = stdout(&[&["generate", "-n", "3"], args].concat());
        text.lines().map(str::to_owned).collect()
    };

    let one = lines(&[]);
    assert_eq!(one[0], "token          activation feature of blocks.3.hook_resid_post");
    assert!(one[1..4].iter().all(|line| line.contains('#') && !line.contains("L3")), "{one:#?}");
    let all = lines(&["--track", "all"]);
    assert_eq!(all[0], "token        layer   activation feature");
    for (at, line) in all[1..13].iter().enumerate() {
        assert!(line.contains(&format!(" L{} ", at % 4)), "{line}");
    }
    let without = lines(&["-m", "models/stories260K"]);
    assert_eq!(without.len(), 1, "{without:?}");
}

#[cfg(unix)]
#[test]
fn in_a_terminal_rows_fit_and_the_story_breaks_between_words() {
    for columns in [40, 63, 100] {
        let args = [&["generate", "--prompt", OPENING], &GREEDY[..]].concat();
        let lines = crate::pty::lines(columns, &args);

        let empty = lines.iter().position(String::is_empty).unwrap();
        let (rows, story) = (&lines[..empty], &lines[empty + 1..lines.len() - 1]);
        assert_eq!(rows.len(), 31, "{lines:#?}");
        for line in &lines {
            assert!(line.chars().count() <= usize::from(columns), "{columns}: {line}");
        }
        assert!(story.len() > 1, "{story:?}");
        let piped = stdout(&args);
        assert_eq!(story.join(" "), piped.lines().last().unwrap());
        // Names get the room that is left.
        let widest = rows.iter().map(|row| row.chars().count()).max().unwrap();
        assert!(widest == usize::from(columns) || widest > 80, "{columns}: {widest}");
    }
}

#[test]
fn a_message_with_special_tokens_gets_no_advice_that_it_cannot_follow() {
    let run = nanoscope(&["generate", "--chat", "<|bos|>Hi", "-n", "1"]).success();

    assert!(run.stderr.contains("<|bos|> in the text: read as plain text"), "{}", run.stderr);
    assert!(!run.stderr.contains("--special-tokens"), "{}", run.stderr);
}
