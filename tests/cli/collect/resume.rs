//! Runs that are killed, interrupted or fail.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nanoscope_corpus::ActivationStore;
use nanoscope_testing::{Nanoscope, Outcome};

use super::{Bench, failure, shards};
use crate::signal;

/// Number of runs to kill, unless `NANOSCOPE_KILLS` is set.
const KILLS: usize = 4;

/// Pseudo-random times, different in each run of the test.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        println!("seed {since}");
        Self(since)
    }

    /// A time between 0 and `whole`.
    fn within(&mut self, whole: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        whole.mul_f64((self.0 >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

fn spawn(run: Nanoscope) -> Child {
    run.into_command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Asserts that every shard with its final name is complete.
#[track_caller]
fn assert_whole(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    let expected = shards(expected);
    for (name, bytes) in shards(found) {
        assert!(expected[name] == bytes, "{name} is not whole");
    }
}

/// Waits until `count` shards have their final names.
fn wait_for_shards(bench: &Bench, out: &str, child: &mut Child, count: usize) {
    loop {
        let dir = std::fs::read_dir(bench.path(out)).into_iter().flatten();
        let named = dir.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().ends_with(".safetensors")
        });
        if named.count() >= count {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended too soon");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_run_that_is_killed_at_any_moment_and_gone_on_with_ends_with_the_same_bytes() {
    let kills = std::env::var("NANOSCOPE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let bench = Bench::new(60);
    let began = Instant::now();
    bench.collect("reference", &[]);
    let whole = began.elapsed();
    let expected = bench.files("reference");
    let mut moments = Moments::new();

    let (mut killed, mut ended, mut stores) = (0, 0, 0);
    while killed < kills {
        stores += 1;
        let out = format!("out-{stores}");
        // A few kills in a row, until a run ends first.
        loop {
            let mut child = spawn(bench.command(&out, &[]));
            thread::sleep(moments.within(whole));
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                ended += 1;
                break;
            }
            killed += 1;
            if bench.path(&out).exists() {
                assert_whole(&bench.files(&out), &expected);
            }
            if killed.is_multiple_of(3) {
                break;
            }
        }
        bench.collect(&out, &[]);
        assert!(bench.files(&out) == expected, "{out} has other bytes");
        std::fs::remove_dir_all(bench.path(&out)).unwrap();
    }
    println!(
        "{killed} runs killed, {ended} ended before, {stores} stores of {} files",
        expected.len()
    );
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_loses_no_complete_shard() {
    let bench = Bench::new(360);
    bench.collect("reference", &[]);
    for signal in ["INT", "TERM"] {
        interrupted_by(signal, &bench);
        std::fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

fn interrupted_by(name: &str, bench: &Bench) {
    let mut child = spawn(bench.command("out", &[]));
    wait_for_shards(bench, "out", &mut child, 2);

    signal(name, child.id());
    let outcome = Outcome::new(child.wait_with_output().unwrap());

    let text = outcome.stderr;
    let code = if name == "INT" { 130 } else { 143 };
    assert_eq!(outcome.code, Some(code), "{name}: {text}");
    assert!(
        text.contains("shards are complete, and the same command continues after them"),
        "{text}"
    );
    let error = ActivationStore::open(&bench.path("out")).unwrap_err().to_string();
    assert!(error.ends_with("missing a manifest (it is still being written)"), "{error}");
    let times = |name: &str| bench.path(name).metadata().unwrap().modified().unwrap();
    let first = times("out/shard-000000.safetensors");

    let text = bench.command("out", &[]).run().stderr;

    assert!(text.contains("shards are already complete"), "{text}");
    assert_eq!(times("out/shard-000000.safetensors"), first, "the first shard was made again");
    assert!(bench.files("out") == bench.files("reference"), "it has other bytes");
}

#[test]
fn a_second_run_of_the_same_part_is_refused_while_the_first_goes_on() {
    let bench = Bench::new(360);
    let mut child = spawn(bench.command("out", &[]));
    wait_for_shards(&bench, "out", &mut child, 1);
    // Stopped, it cannot end before the second has looked.
    let signal = |name: &str| {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");

    let error = failure(bench.command("out", &[]));

    signal("-CONT");
    assert!(error.contains("another run is writing this part"), "{error}");
    assert!(child.wait().unwrap().success());
    ActivationStore::open(&bench.path("out")).unwrap();
}

#[test]
fn a_write_that_fails_is_an_error_that_keeps_the_complete_shards() {
    let bench = Bench::new(180);
    bench.collect("reference", &[]);
    let mut child = spawn(bench.command("out", &[]));
    wait_for_shards(&bench, "out", &mut child, 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = bench.files("out");

    // A limit on the size of a file, below that of a shard, stands for a full disk.
    let command = bench.command("out", &[]).into_command();
    let limited = Nanoscope::new("sh", env!("CARGO_TARGET_TMPDIR"))
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\""])
        .args([command.get_program()])
        .args(command.get_args());
    let error = failure(limited);

    assert!(error.contains("was not written; "), "{error}");
    assert!(error.contains("are complete, and the same command continues after them"), "{error}");
    assert!(error.contains("File too large"), "{error}");
    let after = bench.files("out");
    assert!(shards(&before) == shards(&after), "a complete shard was touched");
    assert!(!after.keys().any(|name| name.ends_with(".partial")), "{:?}", after.keys());

    bench.collect("out", &[]);
    assert!(bench.files("out") == bench.files("reference"), "it has other bytes");
}
