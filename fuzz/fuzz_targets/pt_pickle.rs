//! Any bytes as the pickle in a sound `.pt` file, which the checksums keep `pt_file` from reaching.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_fuzz::{read_tensors, torch_zip};

/// Bytes of a storage; of the golden SAE's tensors the biases fit.
const STORAGE: [u8; 512] = [0x3c; 512];

fuzz_target!(|pickle: &[u8]| read_tensors(&torch_zip(pickle, &STORAGE)));
