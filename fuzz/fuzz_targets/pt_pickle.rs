//! Reads arbitrary bytes as the pickle in a valid `.pt` file. `pt_file` rarely gets past the checksums.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_fuzz::{read_tensors, torch_zip};

/// A storage large enough for the biases of the golden SAE.
const STORAGE: [u8; 512] = [0x3c; 512];

fuzz_target!(|pickle: &[u8]| read_tensors(&torch_zip(pickle, &STORAGE)));
