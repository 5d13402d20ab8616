//! The commands that are printed after a training, run as they are printed.

use std::fs;
use std::path::Path;

use super::*;

/// A text of many different sentences.
fn stories(documents: usize) -> String {
    let mut random = Random(11);
    let mut word = || {
        let words = ["dog", "cat", "ball", "ran", "red", "big", "said", "the", "and", "happy"];
        words[random.next() as usize % words.len()]
    };
    let mut text = Vec::new();
    for _ in 0..documents {
        let words: Vec<&str> = (0..60).map(|_| word()).collect();
        text.push(format!("Once upon a time {}.", words.join(" ")));
    }
    text.join("\n<|endoftext|>\n")
}

/// The suggested commands in the output of a training, by their first word.
fn suggested(stdout: &str) -> BTreeMap<String, String> {
    let (_, commands) = stdout.split_once("To use the SAE:\n").unwrap();
    let command = |line: &str| {
        let line = line.trim();
        let name = line.strip_prefix("nanoscope ").unwrap().split(' ').next().unwrap();
        (name.to_owned(), line.to_owned())
    };
    commands.lines().map(command).collect()
}

/// Runs a command line in a shell, in `dir`. Returns its standard output and its standard error.
#[track_caller]
fn shell(dir: &Path, command: &str) -> (String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_nanoscope")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let outcome = Nanoscope::new("sh", env!("CARGO_TARGET_TMPDIR"))
        .args(["-c", command])
        .env("PATH", path)
        .current_dir(dir)
        .success();
    (outcome.stdout, outcome.stderr)
}

const SMALL: [&str; 10] =
    ["--d-sae", "64", "--k", "4", "--batch", "128", "--steps", "16", "--hook", HOOK];

/// A folder whose name a shell would take apart, with a copy of the demo in it.
fn awkward(scratch: &Scratch) -> PathBuf {
    let dir = scratch.path("it's a $(folder)");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    for part in ["base_checkpoints/d4", "tokenizer"] {
        fs::create_dir_all(dir.join("my model").join(part)).unwrap();
        for entry in fs::read_dir(demo.join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.join("my model").join(part).join(entry.file_name()))
                .unwrap();
        }
    }
    fs::write(dir.join("my stories.txt"), stories(40)).unwrap();
    dir
}

#[test]
#[cfg(unix)]
fn after_a_training_on_text_they_run_and_evaluate_on_what_was_held_out() {
    let scratch = Scratch::new();
    let dir = awkward(&scratch);
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (model, text, out) = (path("my model"), path("my stories.txt"), path("my run"));
    let source = ["--model", &model, "--text", &text, "--context", "32", "--out", &out];

    let (stdout, _) = success(&[&["train"], &source[..], &SMALL].concat());

    let commands = suggested(&stdout);
    let names: Vec<&str> = commands.keys().map(String::as_str).collect();
    assert_eq!(names, ["dashboard", "eval", "features", "generate"]);
    shell(scratch.0.path(), &format!("{} --max-tokens 2", commands["generate"]));
    shell(scratch.0.path(), &commands["features"]);
    shell(scratch.0.path(), &commands["dashboard"]);
    assert!(dir.join("my run/dashboard/index.html").is_file());

    let (_, noted) = shell(scratch.0.path(), &commands["eval"]);
    let held_out: Value =
        serde_json::from_slice(&fs::read(dir.join("my run/held_out.json")).unwrap()).unwrap();
    let ranges = held_out["contexts"].as_array().unwrap();
    let ends: Vec<[u64; 2]> =
        ranges.iter().map(|range| [0, 1].map(|at| range[at].as_u64().unwrap())).collect();
    let count: u64 = ends.iter().map(|[first, end]| end - first).sum();
    assert!(noted.contains(&format!("evaluated on {count} contexts that ")), "{noted}");
    // They come from all over the text.
    let contexts = held_out["text"]["tokens"].as_u64().unwrap() / 32;
    assert!(ends.len() >= 4, "{ends:?} of {contexts}");
    assert!(ends[0][0] < contexts / 4 && ends[ends.len() - 1][1] > contexts * 3 / 4, "{ends:?}");
}

#[test]
#[cfg(unix)]
fn after_a_training_on_a_store_of_a_small_text_they_name_the_model() {
    let scratch = Scratch::new();
    let dir = awkward(&scratch);
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (model, text) = (path("my model"), path("my stories.txt"));
    let (store, out) = (path("my store"), path("my run"));
    let collect = ["collect", "--model", &model, "--text", &text, "--context", "32"];
    success(&[&collect[..], &["--hook", HOOK, "--out", &store]].concat());

    let (stdout, _) = success(&[&["train", "--store", &store, "--out", &out], &SMALL[..]].concat());

    let commands = suggested(&stdout);
    for (name, command) in &commands {
        let more = if name == "generate" { " --max-tokens 2" } else { "" };
        shell(scratch.0.path(), &format!("{command}{more}"));
        assert!(command.contains("my model"), "{command}");
    }
    assert!(commands.contains_key("eval"), "{commands:?}");

    // A model that is gone is not suggested.
    fs::remove_dir_all(dir.join("my model")).unwrap();
    let out = path("another run");
    let (stdout, _) = success(&[&["train", "--store", &store, "--out", &out], &SMALL[..]].concat());
    assert_eq!(suggested(&stdout).into_keys().collect::<Vec<_>>(), ["inspect"]);
}

#[test]
#[cfg(unix)]
fn after_a_training_of_a_model_named_as_in_the_cache_they_name_it_so() {
    let scratch = Scratch::new();
    let cache = scratch.path("hub");
    let repository = cache.join("models--me--tiny");
    fs::create_dir_all(repository.join("snapshots")).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/stories260K");
    std::os::unix::fs::symlink(model, repository.join("snapshots/aa11")).unwrap();
    fs::write(scratch.path("stories.txt"), stories(30)).unwrap();
    let run = |args: &[&str]| {
        let outcome = nanoscope(args).env("HF_HUB_CACHE", &cache).success();
        (outcome.stdout, outcome.stderr)
    };
    let (text, store) = (scratch.text("stories.txt"), scratch.text("store"));
    let source = ["--model", "me/tiny", "--text", &text, "--context", "32"];
    run(&[&["collect"], &source[..], &["--hook", HOOK, "--out", &store]].concat());

    for (out, source) in [("live", &source[..]), ("stored", &["--store", &store])] {
        let out = scratch.text(out);
        let (stdout, _) = run(&[&["train", "--out", &out], source, &SMALL].concat());

        let commands = suggested(&stdout);
        let names: Vec<&str> = commands.keys().map(String::as_str).collect();
        assert_eq!(names, ["dashboard", "eval", "features", "generate"]);
        for (name, command) in &commands {
            assert!(command.contains(" --model me/tiny "), "{command}");
            let more = if name == "generate" { " --max-tokens 2" } else { "" };
            let cache = cache.display();
            shell(scratch.0.path(), &format!("HF_HUB_CACHE='{cache}' {command}{more}"));
        }
    }
}

#[test]
#[cfg(unix)]
fn after_a_training_on_a_file_they_need_no_model() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("my run"));

    let (stdout, _) = success(&small(&acts, &out));

    let commands = suggested(&stdout);
    assert_eq!(commands.keys().collect::<Vec<_>>(), ["encode", "inspect"]);
    for command in commands.values() {
        shell(scratch.0.path(), command);
    }
}

#[test]
fn a_store_of_one_shard_is_trained_on_with_rows_held_out_from_all_of_it() {
    let scratch = Scratch::new();
    fs::write(scratch.path("stories.txt"), stories(8)).unwrap();
    let (text, store) = (scratch.text("stories.txt"), scratch.text("store"));
    let collect = ["collect", "--text", &text, "--context", "32", "--shard-tokens", "100000"];
    success(&[&collect[..], &["--hook", HOOK, "--out", &store]].concat());

    let (stdout, noted) = success(
        &[&["train", "--store", &store, "--out", &scratch.text("run")], &SMALL[..]].concat(),
    );

    assert!(noted.contains("activations in 1 segment, "), "{noted}");
    // Its held-out rows are not whole contexts, on which alone an evaluation is possible.
    assert!(!suggested(&stdout).contains_key("eval"), "{stdout}");
}

#[test]
fn held_out_text_is_evaluated_only_on_the_text_of_the_run() {
    let scratch = Scratch::new();
    fs::write(scratch.path("stories.txt"), stories(40)).unwrap();
    fs::write(scratch.path("others.txt"), format!("Another {}", stories(40))).unwrap();
    let (text, out) = (scratch.text("stories.txt"), scratch.text("run"));
    let source = ["--text", &text, "--context", "32", "--out", &out];
    success(&[&["train"], &source[..], &SMALL].concat());
    let sae = format!("{out}/{HOOK}/final");
    let eval = |text: &str, more: &[&str]| {
        let args = ["eval", "--sae", &sae, "--held-out", &out, "--text", text];
        failure(&[&args[..], more].concat()).0
    };

    let error = eval(&scratch.text("others.txt"), &[]);
    assert!(error.contains("the text is not the one that") && error.contains("--text"), "{error}");
    let error = eval(&text, &["--context", "64"]);
    assert!(error.contains("has contexts of 32 tokens") && error.contains("omit"), "{error}");
    let (acts, other) = (scratch.text("acts.safetensors"), scratch.text("of-a-file"));
    success(&small(&acts, &other));
    let (error, _) = failure(&["eval", "--text", &text, "--held-out", &other, "--sae", &sae]);
    assert!(error.contains("has no held-out text"), "{error}");
}
