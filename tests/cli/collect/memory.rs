//! Memory use of `nanoscope collect`.

#![cfg(target_os = "linux")]

use super::Bench;

/// Growth allowed for the allocator and the tokenizer, in bytes.
const NOISE: u64 = 24 << 20;

#[test]
fn a_text_ten_times_as_long_takes_no_more_memory() {
    let (short, long) = (Bench::new(60), Bench::new(600));
    let hook = "blocks.0.hook_resid_post";

    let of_short = short.command_at(hook, "out", &[]).peak_memory();
    let of_long = long.command_at(hook, "out", &[]).peak_memory();

    println!("{} MB, ten times the text {} MB", of_short >> 20, of_long >> 20);
    assert!(of_long < of_short + NOISE, "{of_short} bytes, ten times the text {of_long}");
}
