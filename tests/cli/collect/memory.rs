//! How much memory a run takes.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::Bench;

/// What the allocator and the tokenizer may keep more of a longer text, in bytes.
const NOISE: u64 = 24 << 20;

/// The most memory that a command has had, in bytes.
fn peak(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_text_ten_times_as_long_takes_no_more_memory() {
    let (short, long) = (Bench::new(60), Bench::new(600));
    let hook = "blocks.0.hook_resid_post";

    let of_short = peak(&mut short.command_at(hook, "out", &[]));
    let of_long = peak(&mut long.command_at(hook, "out", &[]));

    println!("{} MB, ten times the text {} MB", of_short >> 20, of_long >> 20);
    assert!(of_long < of_short + NOISE, "{of_short} bytes, ten times the text {of_long}");
}
