//! `nanoscope collect`: the contents of a store, also after runs that are killed, interrupted, divided,
//! or out of disk space.

mod content;
mod memory;
mod parts;
mod refused;
mod resume;
mod texts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_testing::Nanoscope;
use tempfile::TempDir;

use crate::nanoscope;

/// Tokens per context and per shard in these tests.
const CONTEXT: usize = 32;
const SHARD: usize = 256;

/// The demo as a path, so that its SAEs, which take longest to load, are not loaded.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo");

/// A temporary folder with texts, in which stores are made.
struct Bench {
    dir: TempDir,
}

impl Bench {
    /// Writes a text of `documents` documents, and one more document in JSONL.
    fn new(documents: usize) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("texts")).unwrap();
        let text: Vec<String> = (0..documents).map(story).collect();
        fs::write(dir.path().join("texts/a.txt"), text.join("\n<|endoftext|>\n")).unwrap();
        let line = serde_json::json!({ "text": story(documents) });
        fs::write(dir.path().join("texts/b.jsonl"), format!("{line}\n")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, out: &str, more: &[&str]) -> Nanoscope {
        self.command_at("blocks.1.hook_resid_post", out, more)
    }

    fn command_at(&self, hook: &str, out: &str, more: &[&str]) -> Nanoscope {
        let (context, shard) = (CONTEXT.to_string(), SHARD.to_string());
        nanoscope(&["collect", "--model", MODEL, "--text"])
            .args([self.path("texts")])
            .args(["--hook", hook, "--out"])
            .args([self.path(out)])
            .args(["--context", &context, "--shard-tokens", &shard])
            .args(more)
    }

    #[track_caller]
    fn collect(&self, out: &str, more: &[&str]) -> String {
        self.command(out, more).success().stdout
    }

    /// Every file of a store, by name.
    fn files(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        files(&self.path(out))
    }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let named = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(named).collect()
}

/// A text that differs for each number.
fn story(number: usize) -> String {
    const WORDS: [&str; 16] = [
        "the", "fox", "dog", "ran", "to", "a", "big", "red", "house", "and", "said", "hello",
        "friend", "water", "tree", "happy",
    ];
    let mut state = number as u64 + 1;
    let words = (0..40 + number % 7).map(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 60) as usize]
    });
    words.collect::<Vec<_>>().join(" ") + "."
}

/// The standard error of a run that fails with exit code 1.
#[track_caller]
fn failure(run: Nanoscope) -> String {
    let outcome = run.failure();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    outcome.stderr
}

/// The shards among these files, by name.
fn shards(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<&str, &[u8]> {
    let shards = files.iter().filter(|(name, _)| name.ends_with(".safetensors"));
    shards.map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect()
}
