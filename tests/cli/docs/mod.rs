//! Runs the commands printed in README.md and docs/*.md, and compares the shape of their output.

#![cfg(unix)]

mod commands;
mod shape;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use nanoscope_testing::Nanoscope;
use tempfile::TempDir;

use commands::{Command, commands};
use shape::mismatch;

/// Commands that are not run: a part of the command, and the reason.
const SKIPPED: [(&str, &str); 13] = [
    ("~/.cache/nanochat", "needs a model of the reader's own"),
    ("gemma-scope-2b", "needs an SAE to download; tests/cli/encode.rs has one like it"),
    ("dictionary_learning/", "needs an SAE to download; tests/cli/encode.rs has one like it"),
    ("openai-community/", "needs a model to download; tests/parity/families.rs has one like it"),
    ("google/gemma-2-2b", "needs a model to download; tests/parity/families.rs has one like it"),
    ("meta-llama/", "needs a model to download; tests/parity/families.rs has one like it"),
    ("EleutherAI/", "needs a model to download; tests/parity/families.rs has one like it"),
    ("nanoscope serve", "serves until it is interrupted; tests/cli/serve.rs"),
    ("nanoscope chat", "needs a terminal; tests/cli/chat/terminal.rs"),
    ("nanoscope label", "needs a language model; tests/cli/label.rs"),
    ("nanoscope train", "takes minutes; tests/cli/train"),
    ("$layer", "a line of a shell's loop"),
    ("# writes beside the SAE", "would write into the repository"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of README.md and docs/*.md.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.push(root().join("README.md"));
    paths.sort();
    paths
}

/// A temporary folder with the files that the commands name.
fn workplace() -> TempDir {
    let dir = TempDir::new().unwrap();
    let stories = root().join("tests/fixtures/evaluate/stories.jsonl");
    let texts: Vec<String> = fs::read_to_string(&stories)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|document| document["text"].as_str().unwrap().to_owned())
        .collect();
    let text = texts.join("\n<|endoftext|>\n");
    fs::write(dir.path().join("stories.txt"), &text).unwrap();
    for (folder, file) in [("stories", "a.txt"), ("examples", "stories.txt")] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join(file), &text).unwrap();
    }
    fs::copy(stories, dir.path().join("held_out.jsonl")).unwrap();
    std::os::unix::fs::symlink(root().join("models"), dir.path().join("models")).unwrap();
    // The run that README.md trains.
    let run = dir.path().join("runs/stories/blocks.2.hook_resid_post");
    fs::create_dir_all(&run).unwrap();
    std::os::unix::fs::symlink(root().join("models/demo/saes/layer_2"), run.join("final")).unwrap();
    for (name, layer) in [("sae", 2), ("k16", 1), ("k32", 2)] {
        let sae = root().join(format!("models/demo/saes/layer_{layer}"));
        std::os::unix::fs::symlink(sae, dir.path().join(name)).unwrap();
    }
    dir
}

/// Runs a command in a shell that has the program in its `PATH`.
fn run(command: &str, dir: &Path) -> nanoscope_testing::Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_nanoscope")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    Nanoscope::new("sh", env!("CARGO_TARGET_TMPDIR"))
        .args(["-c", command])
        .env("PATH", path)
        .env("HOME", dir)
        .current_dir(dir)
        .run()
}

/// The reason that a list gives for a command, if it has one.
fn reason(list: &[(&'static str, &'static str)], command: &str) -> Option<&'static str> {
    list.iter().find(|(part, _)| command.contains(part)).map(|(_, reason)| *reason)
}

/// The reason for which nobody should copy a command with this output: it steers, and changes nothing or breaks
/// the text.
fn steering_problem(stdout: &str) -> Option<&str> {
    let is_problem = |line: &&str| {
        (line.starts_with("steered ") && line.contains(", changed 0,"))
            || (line.starts_with("fluency: ") && line.ends_with("; the text is broken"))
    };
    stdout.lines().find(is_problem)
}

/// Runs the commands of a document one after another. Returns the failures.
fn check(document: &Path) -> Vec<String> {
    let name = document.strip_prefix(root()).unwrap().display();
    let dir = workplace();
    let mut wrong = Vec::new();
    for Command { text, line, shown } in commands(&fs::read_to_string(document).unwrap()) {
        if let Some(reason) = reason(&SKIPPED, &text) {
            println!("{name}:{line}: not run: {reason}: {text}");
            continue;
        }
        let outcome = run(&text, dir.path());
        if outcome.code != Some(0) {
            wrong.push(format!("{name}:{line}: {text}: {}", outcome.stderr));
        } else if let Some(problem) = steering_problem(&outcome.stdout) {
            wrong.push(format!("{name}:{line}: {text}: {problem}"));
        } else if let Some(shown) = shown
            && let Some(difference) = mismatch(&outcome.stdout, &shown)
        {
            wrong.push(format!("{name}:{line}: {text}: {difference}"));
        }
    }
    wrong
}

#[test]
fn the_commands_in_the_documents_run_and_print_what_is_shown() {
    let wrong: Vec<String> = thread::scope(|scope| {
        let checks: Vec<_> =
            documents().into_iter().map(|path| scope.spawn(move || check(&path))).collect();
        checks.into_iter().flat_map(|check| check.join().unwrap()).collect()
    });

    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn most_commands_of_the_program_are_run_and_some_outputs_compared() {
    let all: Vec<Command> = documents()
        .iter()
        .flat_map(|path| commands(&fs::read_to_string(path).unwrap()))
        .filter(|command| reason(&SKIPPED, &command.text).is_none())
        .collect();
    let compared = all.iter().filter(|command| command.shown.is_some());

    assert!(all.len() >= 15, "only {} commands are run", all.len());
    assert!(compared.count() >= 4);
}

#[test]
fn no_exception_is_out_of_date() {
    let texts: Vec<String> = documents()
        .iter()
        .flat_map(|path| commands(&fs::read_to_string(path).unwrap()))
        .map(|command| command.text)
        .collect();

    for (part, reason) in SKIPPED {
        assert!(texts.iter().any(|text| text.contains(part)), "no command has `{part}` ({reason})");
    }
}
