//! Signals.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nanoscope_testing::Outcome;
use tempfile::TempDir;

use super::{mkfifo, names};
use crate::{golden, nanoscope};

#[test]
fn a_signal_ends_every_command_with_its_code_and_no_file() {
    let dir = TempDir::new().unwrap();
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo);
    let out = fifo.to_str().unwrap();
    let sae = golden("head/saes/topk/blocks_1_hook_resid_post/best_model.pt");
    // A FIFO that nobody reads holds each of them until the signal.
    let story = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/dashboard/stories.jsonl");
    let commands: [&[&str]; 8] = [
        &["run", "--prompt", "The dog", "--out", out],
        &["convert", &sae, out, "--to", "nanochat-sae"],
        &["features", "--text-file", out],
        &["run", "--tokens-file", out],
        &["generate", "--steer-file", out],
        &["eval", "--text", story, "--tokens", "512", "--out", out],
        &["eval", "--text", story, "--tokens", "512", "--features", out],
        &["eval", "--text", story, "--tokens", "512", "--plot", out],
    ];
    for args in commands {
        for (name, code) in [("INT", 130), ("TERM", 143)] {
            let scratch = TempDir::new().unwrap();
            let child = nanoscope(args)
                .env("TMPDIR", scratch.path())
                .into_command()
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // By then it handles signals; loading the demo takes a part of it.
            thread::sleep(Duration::from_secs(3));
            crate::signal(name, child.id());
            let outcome = Outcome::new(child.wait_with_output().unwrap());

            assert_eq!(outcome.code, Some(code), "{args:?} {name}: {}", outcome.stderr);
            assert!(
                outcome.stderr.ends_with("note: interrupted\n"),
                "{args:?} {name}: {}",
                outcome.stderr
            );
            assert_eq!(names(dir.path()), ["fifo"], "{args:?} {name}");
            assert!(names(scratch.path()).is_empty(), "{args:?} {name} leaves a temporary file");
        }
    }
}
