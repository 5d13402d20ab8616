//! Ctrl-C and SIGTERM in the middle of a command that writes files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nanoscope_testing::Outcome;
use tempfile::TempDir;

use crate::{nanoscope, signal};

/// The exit code of a program that a signal ended, as in a shell.
fn code_of(signal: &str) -> i32 {
    if signal == "INT" { 130 } else { 143 }
}

const DEADLINE: Duration = Duration::from_mins(2);

fn spawn(args: &[&str]) -> Child {
    nanoscope(args)
        .into_command()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test")
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

/// Sends the signal `name` to `child` once it writes in `dir`: to a temporary file, or into a temporary
/// folder. A check that something can be written makes an empty file or folder too, before the work.
#[track_caller]
fn interrupt(mut child: Child, name: &str, dir: &Path, folder: bool) -> Outcome {
    let begun = Instant::now();
    let is_begun = |name: &String| {
        let entry = dir.join(name);
        let is_it = if folder {
            fs::read_dir(&entry).is_ok_and(|mut inside| inside.next().is_some())
        } else {
            fs::metadata(&entry).is_ok_and(|found| found.is_file() && found.len() > 0)
        };
        name.starts_with('.') && is_it
    };
    while !names(dir).iter().any(is_begun) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anything was written");
        assert!(begun.elapsed() < DEADLINE, "nothing was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(name, child.id());
    Outcome::new(child.wait_with_output().unwrap())
}

/// Activations that are all zero, in a file that takes no room on the disk.
fn zeros(path: &Path, rows: u64, d_in: u64) {
    let bytes = rows * d_in * 4;
    let header =
        format!(r#"{{"x":{{"dtype":"F32","shape":[{rows},{d_in}],"data_offsets":[0,{bytes}]}}}}"#);
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + bytes).unwrap();
}

#[test]
fn encode_removes_its_temporary_files_on_ctrl_c_and_sigterm() {
    let dir = TempDir::new().unwrap();
    let activations = dir.path().join("zeros.safetensors");
    zeros(&activations, 1 << 22, 256);
    let sae = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/saes/layer_2");

    for signal in ["INT", "TERM"] {
        let out = dir.path().join(signal);
        fs::create_dir(&out).unwrap();
        let file = out.join("features.safetensors");
        let child = spawn(&[
            "encode",
            "--sae",
            sae.to_str().unwrap(),
            "--activations",
            activations.to_str().unwrap(),
            "--out",
            file.to_str().unwrap(),
        ]);

        let Outcome { code, stderr: error, .. } = interrupt(child, signal, &out, false);

        assert_eq!(code, Some(code_of(signal)), "{signal}: {error}");
        assert_eq!(names(&out), [""; 0], "{signal}");
        assert!(error.contains("interrupted after"), "{signal}: {error}");
        assert!(error.contains("nothing was written"), "{signal}: {error}");
    }
}

#[test]
fn a_dashboard_that_is_being_written_is_finished_on_ctrl_c_and_sigterm() {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dashboard/stories.jsonl");
    for signal in ["INT", "TERM"] {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("pages");
        let child = spawn(&[
            "dashboard",
            "--text",
            text.to_str().unwrap(),
            "--tokens",
            "2000",
            "--features",
            "0..512",
            "--out",
            out.to_str().unwrap(),
        ]);

        let Outcome { code, stderr: error, .. } = interrupt(child, signal, dir.path(), true);

        assert_eq!(code, Some(0), "{signal}: {error}");
        assert_eq!(names(dir.path()), ["pages"], "{signal}");
        assert!(out.join("index.html").is_file(), "{signal}");
    }
}
