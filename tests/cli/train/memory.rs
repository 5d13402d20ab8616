//! Memory use of `nanoscope train`.

#![cfg(target_os = "linux")]

use super::*;

/// The peak memory of a training on `rows` activations, in bytes.
fn peak(scratch: &Scratch, rows: usize) -> u64 {
    let name = format!("{rows}.safetensors");
    activations(&scratch.path(&name), rows);
    let (acts, out) = (scratch.text(&name), scratch.text(&format!("run-{rows}")));
    nanoscope(&small(&acts, &out)).peak_memory()
}

#[test]
fn ten_times_the_activations_take_no_more_memory() {
    const MAX_GROWTH: u64 = 40 << 20;

    let scratch = Scratch::new();
    let small = peak(&scratch, 100_000);
    let large = peak(&scratch, 1_500_000);

    // The larger file has 96 MB, the smaller one 6.4 MB.
    assert!(small > 0 && large < small + MAX_GROWTH, "{small} and {large} bytes");
}
