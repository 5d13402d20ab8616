//! The program as a user runs it, on the built-in demo and the fixtures.

mod attribute;
mod attribute_page;
mod chat;
mod collect;
mod completions;
mod dashboard;
mod docs;
mod encode;
mod eval;
mod features;
mod generate;
mod heatmap;
mod index;
mod interrupted;
mod label;
mod man;
mod mistakes;
mod models;
mod outputs;
mod pages;
mod pty;
mod remote;
mod run;
mod steering;
mod sweep;
mod tables;
mod train;

use std::path::{Path, PathBuf};
use std::process::Command;

use nanoscope_testing::Nanoscope;
use serde_json::Value;

/// The folder for the tests' files.
fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli")
}

fn nanoscope(args: &[&str]) -> Nanoscope {
    nanoscope_testing::nanoscope!().args(args)
}

/// The standard output of a run that succeeds.
#[track_caller]
fn stdout(args: &[&str]) -> String {
    nanoscope(args).success().stdout
}

/// The standard error of a run that fails, and its exit code.
#[track_caller]
fn failure(args: &[&str]) -> (String, i32) {
    let outcome = nanoscope(args).failure();
    (outcome.stderr, outcome.code.expect("no signal ended it"))
}

fn golden(path: &str) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(path);
    golden.to_str().unwrap().to_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Sends a signal such as `TERM` to a process.
#[cfg(unix)]
#[track_caller]
fn signal(name: &str, process: u32) {
    let kill = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(kill.unwrap().success(), "{name} to {process}");
}

const GREEDY: [&str; 4] = ["--temperature", "0", "--max-tokens", "30"];
const OPENING: &str = "Once upon a time";
/// nanochat's greedy continuation of `<|bos|>` and [`OPENING`].
const CONTINUATION: [u64; 30] = [
    44, 454, 305, 258, 497, 651, 475, 734, 46, 381, 602, 275, 428, 902, 311, 310, 500, 46, 973,
    386, 44, 341, 557, 258, 464, 44, 1235, 869, 46, 0,
];
