//! Any bytes as a `.npz` file: an error, or arrays each of which is an error or as many finite
//! numbers as its shape says.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| nanoscope_fuzz::read_tensors(bytes));
