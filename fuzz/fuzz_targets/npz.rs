//! Reads arbitrary bytes as a `.npz` file: an error, or arrays that are each an error or as many finite
//! numbers as the shape says.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| nanoscope_fuzz::read_tensors(bytes));
