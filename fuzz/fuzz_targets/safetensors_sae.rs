//! Reads arbitrary bytes as the weights of an SAELens SAE: an error, or an SAE.
#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use nanoscope_fuzz::{load_sae, put};

static CFG: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    CFG.call_once(|| {
        let cfg = r#"{"d_in": 4, "d_sae": 8, "architecture": "jumprelu", "dtype": "float32",
            "metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.1.hook_resid_post"}}"#;
        put("cfg.json", cfg.as_bytes());
    });
    load_sae(&put("sae_weights.safetensors", bytes));
});
