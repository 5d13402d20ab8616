//! Runs the commands printed in the documents, in `--help` and without arguments, and compares the shape of
//! their output with the output that a document shows.

#![cfg(unix)]

mod commands;
mod shape;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nanoscope_testing::Nanoscope;
use tempfile::TempDir;

use commands::{Command, commands, examples, suggestions};
use shape::mismatch;

/// Commands that are not run: a part of the command, and the reason.
const SKIPPED: [(&str, &str); 22] = [
    ("~/.cache/nanochat", "needs a model of the reader's own"),
    ("sae_outputs", "needs SAEs of the reader's own"),
    ("gemma-scope-2b", "needs an SAE to download; tests/cli/encode.rs has one like it"),
    ("dictionary_learning/", "needs an SAE to download; tests/cli/encode.rs has one like it"),
    ("acts.safetensors", "needs activations of another tool; tests/cli/encode.rs"),
    ("openai-community/", "needs a model to download; tests/parity/families.rs has one like it"),
    ("google/gemma-2-2b", "needs a model to download; tests/parity/families.rs has one like it"),
    ("meta-llama/", "needs a model to download; tests/parity/families.rs has one like it"),
    ("EleutherAI/", "needs a model to download; tests/parity/families.rs has one like it"),
    ("s3://", "needs a bucket; tests/other_tools/remote"),
    ("nanoscope serve", "serves until it is interrupted; tests/cli/pages/serve.rs"),
    ("nanoscope site", "needs the program for browsers; tests/cli/pages/site.rs"),
    ("nanoscope label", "needs a language model; tests/cli/label.rs"),
    ("nanoscope train", "takes minutes; tests/cli/train"),
    ("--held-out", "needs a run of `nanoscope train`; tests/cli/eval.rs"),
    ("# beside it", SLOW),
    ("nanoscope index --text stories.txt", SLOW),
    ("nanoscope index --text val_tinystories.jsonl", "needs texts that are not in the repository"),
    ("nanoscope collect --text text ", "needs texts that are not in the repository"),
    ("nanoscope convert run/", "needs the training of the demo's SAEs"),
    ("$layer", "a line of a shell's loop"),
    ("| jq", "needs jq"),
];

const SLOW: &str = "measures the strength of steering for minutes; tests/cli/index.rs";

/// The number of sample stories in `examples/stories.txt` of a [`workplace`]. All 200 would take minutes.
const STORIES: usize = 20;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document or a text of the program, with its commands.
struct Page {
    name: String,
    text: String,
    commands: Vec<Command>,
    /// True if the text is one of the program's. Its commands may name files of the reader's own.
    is_help: bool,
}

/// README.md, docs/*.md and the demo's README.md.
fn documents() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.extend(["README.md", "models/demo/README.md"].map(|name| root().join(name)));
    paths.sort();
    let page = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        Page { name, commands: commands(&text), text, is_help: false }
    };
    paths.into_iter().map(page).collect()
}

/// The output of `nanoscope` without arguments and the help of each command.
fn help_texts() -> Vec<Page> {
    let page = |args: &[&str]| {
        let text = help(args, 100);
        let name = format!("nanoscope {}", args.join(" "));
        Page { name, commands: examples(&text), text, is_help: true }
    };
    let names = command_names();
    let pages = names.iter().map(|name| page(&["help", name.as_str()]));
    pages.chain([page(&[])]).collect()
}

/// The names of the program's commands.
fn command_names() -> Vec<String> {
    let list = help(&["help"], 1000);
    let lines = list.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

/// The program's output on a terminal of `columns`.
fn help(args: &[&str], columns: usize) -> String {
    let program = nanoscope_testing::nanoscope!();
    program.args(args).env("COLUMNS", columns.to_string()).success().stdout
}

fn pages() -> Vec<Page> {
    documents().into_iter().chain(help_texts()).collect()
}

/// A temporary folder with this repository's models, the beginning of its sample text, and the SAE of the run
/// that README.md trains.
fn workplace() -> TempDir {
    let dir = TempDir::new().unwrap();
    let sample = fs::read_to_string(root().join("examples/stories.txt")).unwrap();
    let stories: String = sample.split_inclusive("<|endoftext|>").take(STORIES).collect();
    fs::create_dir(dir.path().join("examples")).unwrap();
    fs::write(dir.path().join("examples/stories.txt"), stories).unwrap();
    symlink(root().join("models"), dir.path().join("models")).unwrap();
    let last = dir.path().join("runs/stories/blocks.2.hook_resid_post/final");
    fs::create_dir_all(&last).unwrap();
    for file in ["cfg.json", "sae_weights.safetensors"] {
        fs::copy(root().join("models/demo/saes/layer_2").join(file), last.join(file)).unwrap();
    }
    dir
}

/// Adds files that the program's own texts take for the reader's to a [`workplace`].
fn add_readers_files(dir: &Path) {
    let stories = dir.join("examples/stories.txt");
    for folder in ["stories", "fineweb"] {
        fs::create_dir(dir.join(folder)).unwrap();
        fs::copy(&stories, dir.join(folder).join("a.txt")).unwrap();
    }
    fs::copy(&stories, dir.join("stories.txt")).unwrap();
    fs::copy(root().join("tests/fixtures/evaluate/stories.jsonl"), dir.join("held_out.jsonl"))
        .unwrap();
    fs::write(dir.join("tokens.json"), "[[4087, 550, 468]]").unwrap();
    for (name, layer) in [("sae", 2), ("k16", 1), ("k32", 2), ("k64", 3)] {
        symlink(root().join(format!("models/demo/saes/layer_{layer}")), dir.join(name)).unwrap();
    }
}

/// Runs a command in a shell that has the program in its `PATH`.
fn run(command: &str, dir: &Path) -> nanoscope_testing::Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_nanoscope")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    Nanoscope::new("sh", env!("CARGO_TARGET_TMPDIR"))
        .args(["-c", command])
        .env("PATH", path)
        .env("HOME", dir)
        .env("XDG_DATA_HOME", dir.join("data"))
        .current_dir(dir)
        .run()
}

/// The reason for which a command is not run, if it has one.
fn skipped(command: &str) -> Option<&'static str> {
    SKIPPED.iter().find(|(part, _)| command.contains(part)).map(|(_, reason)| *reason)
}

/// The same command with both texts, if it writes a steered text alone.
fn compared(command: &str) -> Option<String> {
    let rest = command.strip_prefix("nanoscope generate ")?;
    let is_alone = !rest.contains("--compare") && !rest.contains("--json");
    (rest.contains("--steer ") && is_alone).then(|| format!("nanoscope generate --compare {rest}"))
}

/// The reason for which nobody should copy a command with this output: it steers, and changes nothing or breaks
/// the text.
fn steering_problem(stdout: &str) -> Option<String> {
    let is_problem = |line: &&str| {
        (line.starts_with("steered ") && line.contains(", changed 0,"))
            || (line.starts_with("fluency: ") && line.ends_with("; the text is broken"))
    };
    if let Some(line) = stdout.lines().find(is_problem) {
        return Some(line.to_owned());
    }
    if stdout.contains("\"changed\":0,") {
        return Some("an intervention changes nothing".to_owned());
    }
    let (_, texts) = stdout.split_once("unsteered:\n")?;
    let (unsteered, steered) = texts.split_once("\n\nsteered:\n")?;
    steered.starts_with(&format!("{unsteered}\n")).then(|| "both texts are the same".to_owned())
}

/// Runs a command. Returns the reason for which nobody should copy it, or the difference from what is shown.
fn problem(Command { text, shown, .. }: &Command, dir: &Path) -> Option<String> {
    let outcome = run(text, dir);
    if outcome.code != Some(0) {
        return Some(outcome.stderr);
    }
    if let Some(problem) = steering_problem(&outcome.stdout) {
        return Some(problem);
    }
    if let Some(shown) = shown
        && let Some(difference) = mismatch(&outcome.stdout, shown)
    {
        return Some(difference);
    }
    let both = run(&compared(text)?, dir);
    if both.code == Some(0) { steering_problem(&both.stdout) } else { Some(both.stderr) }
}

/// Runs the commands of a page one after another. Returns the failures.
fn check(Page { name, commands, is_help, .. }: &Page) -> Vec<String> {
    let dir = workplace();
    if *is_help {
        add_readers_files(dir.path());
    }
    let mut wrong = Vec::new();
    for command in commands {
        let Command { text, line, .. } = command;
        if let Some(reason) = skipped(text) {
            println!("{name}:{line}: not run: {reason}: {text}");
        } else if let Some(problem) = problem(command, dir.path()) {
            wrong.push(format!("{name}:{line}: {text}: {problem}"));
        }
    }
    wrong
}

#[test]
fn the_commands_that_are_printed_run_and_print_what_is_shown() {
    let pages = pages();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(page) = pages.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(check(page));
        }
        wrong
    };

    // Not a thread for each page: all of them at once would take several gigabytes.
    let wrong: Vec<String> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });

    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn most_commands_of_the_program_are_run_and_some_outputs_compared() {
    let pages = pages();
    let all = pages.iter().flat_map(|page| &page.commands);
    let run: Vec<&Command> = all.filter(|command| skipped(&command.text).is_none()).collect();
    let compared = run.iter().filter(|command| command.shown.is_some());

    assert!(run.len() >= 50, "only {} commands are run", run.len());
    assert!(compared.count() >= 12);
}

#[test]
fn no_exception_is_out_of_date() {
    let pages = pages();

    for (part, reason) in SKIPPED {
        let mut all = pages.iter().flat_map(|page| &page.commands);
        assert!(
            all.any(|command| command.text.contains(part)),
            "no command has `{part}` ({reason})"
        );
    }
}

#[test]
fn an_intervention_that_a_sentence_suggests_is_in_a_command_that_is_run() {
    let documents = documents();
    let run: Vec<&Command> = documents
        .iter()
        .flat_map(|page| &page.commands)
        .filter(|command| skipped(&command.text).is_none())
        .collect();

    for page in &documents {
        for suggestion in suggestions(&page.text) {
            let is_run = run.iter().any(|command| command.text.contains(suggestion));
            assert!(is_run, "{}: no command that is run has `{suggestion}`", page.name);
        }
    }
}

#[test]
fn the_first_text_names_the_search_by_a_word() {
    let welcome = help(&[], 100);

    assert!(examples(&welcome).iter().any(|command| command.text == "nanoscope features dog"));
}

#[test]
fn a_line_to_copy_is_not_wrapped() {
    for name in command_names() {
        let wide = help(&["help", &name], 1000);
        let narrow = help(&["help", &name], 100);

        let texts = |help: &str| -> Vec<String> {
            examples(help).into_iter().map(|command| command.text).collect()
        };
        assert_eq!(texts(&narrow), texts(&wide), "{name}");
    }
}

#[test]
fn a_text_that_steering_does_not_change_is_a_problem() {
    let output = |steered: &str| {
        format!(
            "unsteered:\nA dog.\n\nsteered:\n{steered}\n\nsteered x: applied at 3 positions, changed 3\n"
        )
    };

    assert_eq!(steering_problem(&output("A cat.")), None);
    assert!(steering_problem(&output("A dog.")).is_some());
    assert!(steering_problem("{\"positions\":2,\"changed\":0,\"moved\":0.0}").is_some());
    assert_eq!(
        compared("nanoscope generate --steer 7:add:5% # x").as_deref(),
        Some("nanoscope generate --compare --steer 7:add:5% # x")
    );
    assert_eq!(compared("nanoscope generate --steer 7:add:5% --compare"), None);
}
