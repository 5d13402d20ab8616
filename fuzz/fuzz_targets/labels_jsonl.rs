//! Reads arbitrary bytes as Neuronpedia explanations: an error, or labels of existing features.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_checkpoint::Labels;
use nanoscope_fuzz::{DIR, put};

fuzz_target!(|bytes: &[u8]| {
    put("explanations.jsonl", bytes);
    if let Ok(labels) = Labels::read(DIR.path(), 64) {
        let known = (0..64).filter(|&feature| labels.get(feature).is_some()).count();
        assert_eq!(labels.len(), known);
    }
});
