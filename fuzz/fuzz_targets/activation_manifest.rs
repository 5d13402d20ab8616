//! Reads arbitrary bytes as the manifest of an activation store without shards: an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_corpus::ActivationStore;
use nanoscope_fuzz::{DIR, put};

fuzz_target!(|bytes: &[u8]| {
    put("store/manifest.json", bytes);
    assert!(ActivationStore::open(&DIR.path().join("store")).is_err());
});
