//! Trainings that are killed at random moments.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;

/// Number of runs to kill: `NANOSCOPE_KILLS`, or 4.
fn kills() -> usize {
    std::env::var("NANOSCOPE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Asserts that every file with its final name in the run's folder is complete.
#[track_caller]
fn assert_whole(run: &Path) {
    for entry in walk(run) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        // A file gets its name when it is complete, or with the folder that it was written to.
        let unfinished = entry.strip_prefix(run).unwrap().components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part.starts_with(".unfinished-") || part.starts_with(".nanoscope-tmp-")
        });
        if unfinished {
            continue;
        }
        let bytes = std::fs::read(&entry).unwrap();
        let ends = |with: &str| entry.extension().is_some_and(|end| end == with);
        if ends("safetensors") {
            assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok(), "{}", entry.display());
        } else if ends("json") {
            assert!(serde_json::from_slice::<Value>(&bytes).is_ok(), "{}", entry.display());
        } else if name == "config.toml" {
            assert!(String::from_utf8(bytes).unwrap().contains("[run]"));
        }
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_run_that_is_killed_and_resumed_ends_with_the_same_bytes() {
    let scratch = Scratch::new();
    let acts = scratch.text("acts.safetensors");
    let whole = scratch.text("whole");
    let began = Instant::now();
    success(&small(&acts, &whole));
    let took = began.elapsed();
    let expected = left_behind(&scratch.path("whole"));

    let seed = std::env::var("NANOSCOPE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::process::id().into());
    eprintln!("NANOSCOPE_SEED={seed}");
    let mut random = Random(seed);
    let (mut killed, mut runs) = (0, 0);
    while killed < kills() {
        let out = scratch.text(&format!("run-{runs}"));
        let dir = scratch.path(&format!("run-{runs}"));
        loop {
            let resume = ["train", "--resume", &out];
            let has_begun = dir.join("config.toml").is_file();
            let fresh = small(&acts, &out);
            let args = if has_begun { &resume[..] } else { &fresh };
            if killed == kills() {
                success(args);
                break;
            }
            let mut command = nanoscope(args).into_command();
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // In the first half, so that a run is killed several times before it ends.
            sleep(took.mul_f64(random.next() as f64 % 1000.0 / 2000.0));
            if let Some(status) = child.try_wait().unwrap() {
                let said = child.wait_with_output().unwrap().stderr;
                assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
                break;
            }
            // SIGKILL, on Unix.
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            assert_whole(&dir);
        }
        assert_same(&left_behind(&dir), &expected);
        runs += 1;
    }
    eprintln!("{killed} kills in {runs} runs, each of {:.1} s", Duration::as_secs_f64(&took));
}
