//! `nanoscope train` on activations made from a planted dictionary.

mod extended;
mod killed;
mod memory;
mod refused;
mod resumed;
mod suggested;
mod trained;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nanoscope_testing::Nanoscope;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

const HOOK: &str = "blocks.1.hook_resid_post";
const WIDTH: usize = 16;

/// A run with one thread, which is reproducible bit for bit. A training makes no index, which
/// `tests/cli/index.rs` covers.
fn nanoscope(args: &[&str]) -> Nanoscope {
    let no_index: &[&str] = if args.first() == Some(&"train") { &["--no-index"] } else { &[] };
    crate::nanoscope(&[args, no_index].concat()).env("RAYON_NUM_THREADS", "1")
}

/// The standard output and the standard error of a run that succeeds.
#[track_caller]
fn success(args: &[&str]) -> (String, String) {
    let outcome = nanoscope(args).success();
    (outcome.stdout, outcome.stderr)
}

/// The standard error of a run that fails, and its exit code.
#[track_caller]
fn failure(args: &[&str]) -> (String, i32) {
    let outcome = nanoscope(args).failure();
    (outcome.stderr, outcome.code.unwrap_or(-1))
}

/// A pseudo-random generator, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// A number from -1 to 1.
    fn number(&mut self) -> f32 {
        (self.next() % 2_000_001) as f32 / 1e6 - 1.0
    }
}

/// Writes a file of `rows` activations, each the sum of three of 48 directions.
fn activations(path: &Path, rows: usize) {
    let mut random = Random(7);
    let directions: Vec<[f32; WIDTH]> =
        (0..48).map(|_| std::array::from_fn(|_| random.number())).collect();
    let mut bytes = Vec::with_capacity(rows * WIDTH * 4);
    for _ in 0..rows {
        let mut row = [0.3_f32; WIDTH];
        for _ in 0..3 {
            let size = 1.0 + random.number().abs();
            let direction = &directions[random.next() as usize % directions.len()];
            row.iter_mut().zip(direction).for_each(|(x, d)| *x += size * d);
        }
        bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
    }
    let view = TensorView::new(Dtype::F32, vec![rows, WIDTH], &bytes).unwrap();
    safetensors::serialize_to_file([("acts", view)], None, path).unwrap();
}

/// The flags of a small training on the activations at `path`.
fn small<'a>(path: &'a str, out: &'a str) -> Vec<&'a str> {
    let flags = "--d-sae 64 --k 3 --batch 64 --steps 60 --lr 0.003 --log-every 2 --eval-every 10 \
                 --save-every 5 --seed 3";
    let mut args = vec!["train", "--activations", path, "--hook", HOOK, "--out", out];
    args.extend(flags.split_whitespace());
    args
}

/// A temporary folder with a file of activations.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        activations(&scratch.0.path().join("acts.safetensors"), 4000);
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// The contents of files by their paths in a run's folder.
type Left = BTreeMap<String, Vec<u8>>;

/// The reproducible part of a run's folder: everything but times.
fn left_behind(run: &Path) -> Left {
    let mut left = BTreeMap::new();
    let hook = run.join(HOOK);
    for kind in ["best", "final"] {
        for entry in std::fs::read_dir(hook.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(run).unwrap().to_string_lossy().into_owned();
            left.insert(name, std::fs::read(path).unwrap());
        }
    }
    let metrics: Vec<Value> = metrics(run);
    left.insert("metrics".to_owned(), format!("{metrics:#?}").into_bytes());
    left
}

/// The lines of `metrics.jsonl` without times.
fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("time").is_some(), "{line}");
        line
    };
    text.lines().map(line).collect()
}

#[track_caller]
fn assert_same(found: &Left, expected: &Left) {
    let names = |left: &Left| left.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{name} differs");
    }
}
