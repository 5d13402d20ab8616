//! How much memory a training takes.

use super::*;

/// The most memory that a training on `rows` activations had, in bytes.
#[cfg(target_os = "linux")]
fn peak(scratch: &Scratch, rows: usize) -> u64 {
    let name = format!("{rows}.safetensors");
    activations(&scratch.path(&name), rows);
    let (acts, out) = (scratch.text(&name), scratch.text(&format!("run-{rows}")));
    let mut child = spawn(&small(&acts, &out));
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0_u64) << 10);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[cfg(target_os = "linux")]
#[test]
fn ten_times_the_activations_take_no_more_memory() {
    const MOST: u64 = 40 << 20;

    let scratch = Scratch::new();
    let small = peak(&scratch, 100_000);
    let large = peak(&scratch, 1_500_000);

    // The larger file has 96 MB, the smaller one 6.4 MB.
    assert!(small > 0 && large < small + MOST, "{small} and {large} bytes");
}
