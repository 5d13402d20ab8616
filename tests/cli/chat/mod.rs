//! `nanoscope chat`, in this file without a terminal.

mod terminal;

use nanoscope_testing::Outcome;
use serde_json::Value;

use crate::{CONTINUATION, OPENING, nanoscope};

const GREEDY: [&str; 4] = ["--temperature", "0", "--max-tokens", "12"];

/// Runs a dialogue with these lines on standard input.
fn chat(args: &[&str], input: &[u8]) -> Outcome {
    nanoscope(&["chat"]).args(args).run_with_input(input)
}

#[test]
fn a_line_is_gone_on_with_as_nanochat_does_it_and_quit_ends_the_dialogue() {
    let output = chat(&GREEDY, format!("{OPENING}\n/quit\nnever read\n").as_bytes());

    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(
        output.stdout,
        format!("{OPENING}, there was a little girl named Lily. She loved to\n")
    );
}

#[test]
fn a_saved_comparison_has_nanochats_text_and_the_steered_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    let path = path.to_str().unwrap();
    let input = format!(
        "/steer 1909:add:27\n/compare on\n{OPENING}\n/save {path}\n/save {path}\n/save! {path}\n"
    );

    let output = chat(&GREEDY, input.as_bytes());

    let (out, err) = (&output.stdout, &output.stderr);
    assert!(out.contains("[unsteered] Once upon a time, there was a little girl"), "{out}");
    assert!(out.contains("[steered] Once upon a time"), "{out}");
    // The four tokens of the opening and the twelve after it.
    assert!(
        out.contains("steered blocks.3.hook_resid_post:1909:add:27: applied at 16 positions"),
        "{out}"
    );
    assert!(err.contains("already exists; /save! overwrites it"), "{err}");
    assert_eq!(output.code, Some(1), "a line could not be followed");

    let saved: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts = saved["runs"][0]["texts"].as_array().unwrap();
    let ids = |text: &Value| -> Vec<u64> {
        let tokens = text["tokens"].as_array().unwrap().iter();
        let generated = tokens.filter(|token| !token["logprob"].is_null());
        generated.map(|token| token["token_id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(&texts[0]), CONTINUATION[..12]);
    assert_ne!(ids(&texts[1]), CONTINUATION[..12]);
    let features = &texts[0]["tokens"][5]["features"]["blocks.3.hook_resid_post"];
    assert_eq!(features.as_array().unwrap().len(), 32);
    assert_eq!(saved["runs"][0]["steer"][0], "blocks.3.hook_resid_post:1909:add:27");
}

#[test]
fn an_empty_line_goes_on_and_errors_do_not_end_the_dialogue() {
    let input = format!("/steer nonsense\n{OPENING}\n\n\u{1b}[2J/x\n").into_bytes();

    let output = chat(&["--temperature", "0", "--max-tokens", "6"], &input);

    let (out, err) = (&output.stdout, &output.stderr);
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("Once upon a time, there was a little girl"));
    assert_eq!(lines.next(), Some(" named Lily. She loved to"));
    assert!(!out.contains('\u{1b}'), "{out:?}");
    assert!(err.contains("nonsense"), "{err}");
    assert_eq!(output.code, Some(1));
}

#[test]
fn a_message_is_answered_and_the_answer_does_not_repeat_it() {
    let args =
        ["--chat", "--prompt", "Tell me a story.", "--temperature", "0", "--max-tokens", "5"];

    let output = chat(&args, b"/mode story\n/save\n");

    let out = output.stdout;
    assert!(!out.contains("Tell me"), "{out}");
    assert!(out.contains("the model continues your text"), "{out}");
    assert!(output.stderr.contains("/save expects FILE"));
}

#[test]
fn special_tokens_are_plain_text_with_one_note_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let prompt_ids = |args: &[&str], name: &str| {
        let path = dir.path().join(name);
        let input = format!("<|bos|>Once\n<|bos|>Once\n/save {}\n", path.display());
        let output = chat(&[&["--max-tokens", "1"], args].concat(), input.as_bytes());
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let saved: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        (saved["runs"][0]["prompt_ids"].as_array().unwrap().len(), output.stderr)
    };

    let (plain, notes) = prompt_ids(&[], "plain.json");
    let (special, quiet) = prompt_ids(&["--special-tokens"], "special.json");

    assert_eq!(notes.matches("<|bos|> in the text: read as plain text").count(), 1, "{notes}");
    assert!(!quiet.contains("plain text"), "{quiet}");
    assert_eq!(special, 2, "`<|bos|>` once, and `Once`");
    assert!(plain > special, "{plain} ids");
}

#[test]
fn flags_that_cannot_be_followed_are_refused_before_the_first_line() {
    for (args, expected, code) in [
        (&["--temperature=-1"][..], "temperature", 2),
        (&["--steer", "blocks.3.hook_resid_post:99999:add:1"], "99999", 1),
        (&["--track", "blocks.9.hook_resid_post"], "blocks.9.hook_resid_post", 1),
        (&["--chat", "--story"], "cannot be used with", 2),
    ] {
        let output = chat(args, b"");
        assert_eq!(output.code, Some(code), "{args:?}");
        assert!(output.stderr.contains(expected), "{}", output.stderr);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_model_that_cannot_chat_is_not_put_into_chat_mode() {
    let args = ["--model", "models/stories260K", "--temperature", "0", "--max-tokens", "3"];

    let output = chat(&args, b"/mode chat\nOnce upon\n/more  the\n");

    assert!(output.stderr.contains("has no chat template"), "{}", output.stderr);
    // The line is a story, not a message that is refused.
    assert!(output.stdout.starts_with("Once upon a time"), "{}", output.stdout);
    assert!(output.stdout.contains("\n the"), "{}", output.stdout);
}
