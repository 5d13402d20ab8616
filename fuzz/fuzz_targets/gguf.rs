//! Reads arbitrary bytes as a GGUF file: an error, or tensors, and vectors if it has any.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_checkpoint::load_vector;
use nanoscope_fuzz::{put, read_tensors};

fuzz_target!(|bytes: &[u8]| {
    read_tensors(bytes);
    let path = put("vector.gguf", bytes);
    for layer in [None, Some(1)] {
        if let Ok(vector) = load_vector(&path, None, layer) {
            assert!(!vector.is_empty() && vector.iter().all(|value| value.is_finite()));
        }
    }
});
