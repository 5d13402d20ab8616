//! `nanoscope label` on the built-in demo, with an endpoint that answers from rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nanoscope_checkpoint::Labels;
use nanoscope_testing::{ChatEndpoint, ChatReply, ChatRequest, Nanoscope, Outcome};
use serde_json::Value;
use tempfile::TempDir;

use crate::{nanoscope, signal};

const D_SAE: usize = 2048;
/// A feature that fires often on the stories, and one that fires less.
const OFTEN: u32 = 1116;
const LESS: u32 = 487;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of one of the demo's SAEs, whose only label by a person is that of [`OFTEN`].
fn sae(dir: &TempDir) -> PathBuf {
    let sae = dir.path().join("sae");
    fs::create_dir(&sae).unwrap();
    for name in ["cfg.json", "sae_weights.safetensors"] {
        fs::copy(root().join("models/demo/saes/layer_3").join(name), sae.join(name)).unwrap();
    }
    fs::write(sae.join("labels.json"), format!("{{\"{OFTEN}\": \"by a person\"}}")).unwrap();
    sae
}

/// A run on the stories with the SAE in the folder `sae`.
fn label(sae: &Path, endpoint: &ChatEndpoint, args: &[&str]) -> Nanoscope {
    let model = root().join("models/demo");
    let text = root().join("tests/fixtures/evaluate/stories.jsonl");
    nanoscope(&["label", "--via", &endpoint.url(), "--as", "rules"])
        .args([Path::new("--model"), &model, Path::new("--sae"), sae, Path::new("--text"), &text])
        .args(args)
}

/// A model that calls everything stories, and finds the feature everywhere.
fn about_stories(request: &ChatRequest) -> ChatReply {
    let question = request.question();
    if !question.starts_with("Description:") {
        assert!(question.contains("<<") && question.contains("Activations: "), "{question}");
        return ChatReply::says("[EXPLANATION]: words of\u{202e} stories");
    }
    let count = question.matches("\nExcerpt ").count();
    ChatReply::says(&format!("[{}]", vec!["1"; count].join(", ")))
}

fn endpoint() -> ChatEndpoint {
    ChatEndpoint::start(|_, request| about_stories(request))
}

/// The objects in the file that a run writes by default.
fn explanations(sae: &Path) -> Vec<Value> {
    crate::lines(&fs::read_to_string(sae.join("explanations.jsonl")).unwrap_or_default())
}

#[test]
fn labels_are_written_beside_the_sae_and_shown_by_other_commands() {
    let dir = TempDir::new().unwrap();
    let (sae, endpoint) = (sae(&dir), endpoint());

    let run = label(&sae, &endpoint, &["--limit", "6", "--yes"]).success();

    assert!(
        run.stdout.contains("6 features labelled, mean score 0.50 (0.5 is chance)"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("words of⟨202E⟩ stories"), "{}", run.stdout);
    let written = explanations(&sae);
    assert_eq!(written.len(), 6);
    let densities: Vec<f64> =
        written.iter().map(|line| line["nanoscope"]["density"].as_f64().unwrap()).collect();
    assert!(densities.iter().all(|&density| density > 0.1), "the most frequent: {densities:?}");
    for line in &written {
        assert_eq!(line["explanationModelName"], "rules");
        assert!(line["score"].is_null() || line["score"] == 0.5, "{line}");
        assert_ne!(line["index"], OFTEN.to_string(), "it has a label");
    }
    // As many requests as were announced, to the chat interface.
    let announced = format!("6 features: {} requests to rules at ", endpoint.requests().len());
    assert!(run.stderr.contains(&announced), "{}", run.stderr);
    assert!(endpoint.requests().iter().all(|request| request.line == "POST /v1/chat/completions"));

    let labels = Labels::read(&sae, D_SAE).unwrap();
    assert_eq!(labels.len(), 7);
    assert!(!labels.is_automatic(OFTEN));
    let automatic = labels.iter().filter(|&(feature, _)| labels.is_automatic(feature)).count();
    assert_eq!(automatic, 6);
    let found = nanoscope(&["features", "--grep", "stories", "--json", "--model"])
        .args([&root().join("models/demo"), Path::new("--sae"), &sae])
        .success();
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["found"], 6);
}

#[test]
fn a_second_run_asks_about_nothing_that_is_done() {
    let dir = TempDir::new().unwrap();
    let (sae, endpoint) = (sae(&dir), endpoint());
    let named = format!("{OFTEN},{LESS}");
    let args = ["--feature", &named, "--yes", "--json"];
    let first = label(&sae, &endpoint, &args).success();
    let summary: Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!((&summary["labelled"], &summary["mean_score"]), (&2.into(), &0.5.into()));
    assert!(first.stderr.contains("1 feature with a label from another file"), "{}", first.stderr);
    let requests = endpoint.requests().len();

    // A line that was torn is written again.
    let path = sae.join("explanations.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let second = label(&sae, &endpoint, &args).success();
    assert!(
        second.stderr.contains("no feature is left to label; nothing was sent"),
        "{}",
        second.stderr
    );
    assert_eq!(endpoint.requests().len(), requests);
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    assert_eq!(Labels::read(&sae, D_SAE).unwrap().len(), 2 - usize::from(torn(&text) == LESS));
    label(&sae, &endpoint, &args).success();
    assert!(endpoint.requests().len() > requests);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    // A person's label stays in front.
    assert_eq!(Labels::read(&sae, D_SAE).unwrap().get(OFTEN), Some("by a person"));
    // Another model labels again, which is said.
    let other = label(&sae, &endpoint, &args).args(["--seed", "7"]).success();
    assert!(
        other.stderr.contains("2 features have labels made with another model"),
        "{}",
        other.stderr
    );
    assert_eq!(explanations(&sae).len(), 4);
}

/// The feature in the last line.
fn torn(text: &str) -> u32 {
    let last: Value = serde_json::from_str(text.lines().next_back().unwrap()).unwrap();
    last["index"].as_str().unwrap().parse().unwrap()
}

#[test]
fn nothing_is_sent_and_nothing_written_without_a_yes() {
    let dir = TempDir::new().unwrap();
    let (sae, endpoint) = (sae(&dir), endpoint());

    let args = ["--limit", "3", "--price-in", "1000", "--price-out", "0"];
    let run = label(&sae, &endpoint, &args).run_with_input(b"y\n");

    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("3 features: ") && run.stderr.contains("tokens of questions"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains(", at these prices about "), "{}", run.stderr);
    assert!(run.stderr.contains("hint: --yes sends the requests"), "{}", run.stderr);
    assert!(endpoint.requests().is_empty());
    assert!(!sae.join("explanations.jsonl").exists());
}

#[cfg(unix)]
#[test]
fn a_terminal_is_asked_and_only_a_yes_sends() {
    use std::io::Write;

    let dir = TempDir::new().unwrap();
    let (sae, endpoint) = (sae(&dir), endpoint());
    for (answer, sent) in [("\n", 0), ("no\n", 0), ("y\n", 2)] {
        let (inner, mut outer) = crate::pty::terminal(80);
        let stdio = || Stdio::from(inner.try_clone().unwrap());
        // The answer waits in the terminal until it is read.
        outer.write_all(answer.as_bytes()).unwrap();
        let args = ["--limit", "2", "--tests", "0"];
        let mut command = label(&sae, &endpoint, &args).into_command();
        let child = command.stdin(stdio()).stderr(stdio()).stdout(Stdio::piped()).spawn().unwrap();
        drop((command, inner));
        let shown = crate::pty::read_all(outer);
        let run = Outcome::new(child.wait_with_output().unwrap());

        assert_eq!(run.code, Some(0), "{answer:?}: {}", run.stdout);
        assert_eq!(endpoint.requests().len(), sent, "{answer:?}");
        let shown = shown.join().unwrap();
        assert!(shown.contains("2 features: 2 requests") && shown.contains("[y/N]"), "{shown}");
    }
}

#[test]
fn an_error_of_the_endpoint_names_a_way_out_and_keeps_what_is_done() {
    let dir = TempDir::new().unwrap();
    let sae = sae(&dir);
    for (status, says) in [(401, "--key-env NAME"), (404, "/v1")] {
        let refusing = ChatEndpoint::start(move |_, _| ChatReply::new(status, "<html>"));
        let run =
            label(&sae, &refusing, &["--limit", "3", "--concurrency", "1", "--yes"]).failure();
        assert!(run.stderr.contains(&format!("answered {status}")), "{}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
        assert_eq!(refusing.requests().len(), 1);
    }
    let page = ChatEndpoint::start(|_, _| ChatReply::new(200, "<html>welcome</html>"));
    let run = label(&sae, &page, &["--limit", "3", "--yes"]).failure();
    assert!(
        run.stderr.contains("did not answer as a chat endpoint does: the answer is not JSON"),
        "{}",
        run.stderr
    );

    let breaks = ChatEndpoint::start(|before, request| match before {
        0..8 => about_stories(request),
        _ => ChatReply::new(403, "{}"),
    });
    let run = label(&sae, &breaks, &["--limit", "20", "--concurrency", "1", "--yes"]).failure();
    let done = explanations(&sae).len();
    assert!(done >= 2, "{done}");
    let note = format!("ended by an error: {done} of 20 features are labelled");
    assert!(run.stderr.contains(&note), "{}", run.stderr);
    label(&sae, &endpoint(), &["--limit", "20", "--yes"]).success();
    assert_eq!(explanations(&sae).len(), done + 20);
}

#[test]
fn a_key_comes_from_the_environment_and_goes_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let (sae, endpoint) = (sae(&dir), endpoint());
    let args = ["--feature", "487", "--tests", "0", "--yes"];
    let key = |run: Nanoscope| {
        let before = endpoint.requests().len();
        let run = run.success();
        let _ = fs::remove_file(sae.join("explanations.jsonl"));
        (endpoint.requests()[before].authorization.clone(), run)
    };
    let (none, run) = key(label(&sae, &endpoint, &args));
    assert_eq!(none, None);
    assert!(run.stderr.contains("are sent there, and no key"), "{}", run.stderr);
    let (default, run) = key(label(&sae, &endpoint, &args).env("OPENAI_API_KEY", "sk-1"));
    assert_eq!(default.as_deref(), Some("Bearer sk-1"));
    assert!(run.stderr.contains("the key in OPENAI_API_KEY"), "{}", run.stderr);
    assert!(!format!("{run:?}").contains("sk-1"));
    let named = label(&sae, &endpoint, &args).args(["--key-env", "MY_KEY"]).env("MY_KEY", "sk-2");
    assert_eq!(key(named).0.as_deref(), Some("Bearer sk-2"));

    let missing = label(&sae, &endpoint, &args).args(["--key-env", "NO_KEY"]).failure();
    assert!(
        missing.stderr.contains("the environment variable NO_KEY is not set"),
        "{}",
        missing.stderr
    );
}

#[test]
fn flags_that_cannot_be_followed_are_refused_before_anything_is_sent() {
    let dir = TempDir::new().unwrap();
    let (sae, endpoint) = (sae(&dir), endpoint());
    let notes = dir.path().join("notes.txt");
    fs::write(&notes, "some notes\n").unwrap();
    for (args, says) in [
        (&["--feature", "2048"][..], "feature 2048 is not in the SAE"),
        (&["--via", "localhost:1"], "does not begin with http://"),
        (&["--out", notes.to_str().unwrap()], "line 1: not an explanation"),
        (&["--price-in", "1"], "--price-out"),
    ] {
        let mut all = vec!["--yes"];
        all.extend(args);
        let run = if args[0] == "--via" {
            let text = root().join("tests/fixtures/evaluate/stories.jsonl");
            nanoscope(&["label", "--as", "m", "--text"]).args([text]).args(&all).failure()
        } else {
            label(&sae, &endpoint, &all).failure()
        };
        assert!(run.stderr.contains(says), "{args:?}: {}", run.stderr);
    }
    // The demo is unpacked to a folder that is not kept.
    let text = root().join("tests/fixtures/evaluate/stories.jsonl");
    let demo =
        || nanoscope(&["label", "--via", &endpoint.url(), "--as", "m", "--text"]).args([&text]);
    let run = demo().args(["--yes"]).failure();
    assert!(run.stderr.contains("--out FILE"), "{}", run.stderr);
    assert!(endpoint.requests().is_empty());
    assert_eq!(fs::read_to_string(&notes).unwrap(), "some notes\n");

    let out = dir.path().join("labels.jsonl");
    demo()
        .args([Path::new("--limit"), Path::new("1"), Path::new("--yes"), Path::new("--out"), &out])
        .success();
    let labels = Labels::read_file(&out, D_SAE).unwrap();
    assert_eq!(labels.len(), 1);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_done() {
    let dir = TempDir::new().unwrap();
    let sae = sae(&dir);
    let slow = ChatEndpoint::start(|before, request| ChatReply {
        delay: if before < 9 { Duration::ZERO } else { Duration::from_mins(1) },
        ..about_stories(request)
    });
    let mut command = label(&sae, &slow, &["--concurrency", "1", "--yes"]).into_command();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while slow.requests().len() < 10 {
        assert!(begun.elapsed() < Duration::from_mins(2), "the requests did not come");
        std::thread::sleep(Duration::from_millis(10));
    }

    signal("INT", child.id());

    let run = Outcome::new(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    let done = explanations(&sae).len();
    assert!(done >= 2);
    assert!(run.stderr.contains(&format!("interrupted: {done} of ")), "{}", run.stderr);
    assert!(begun.elapsed() < Duration::from_mins(2));
}
