//! Reads arbitrary bytes as the `cfg.json` of an SAELens SAE: an error, or an SAE with its weights.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nanoscope_fuzz::{load_sae, put, safetensors};

static WEIGHTS: LazyLock<PathBuf> = LazyLock::new(|| {
    put(
        "sae_weights.safetensors",
        &safetensors(&[("W_enc", &[4, 8]), ("b_enc", &[8]), ("W_dec", &[8, 4]), ("b_dec", &[4])]),
    )
});

fuzz_target!(|cfg: &[u8]| {
    put("cfg.json", cfg);
    load_sae(&WEIGHTS);
});
