//! Reads arbitrary bytes as the `config.json` of an SAE: an error, or an SAE with its weights.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nanoscope_checkpoint::inspect;
use nanoscope_fuzz::{DIR, sae_pickle, torch_zip};

/// A folder with weights that carry no configuration.
static SAE: LazyLock<&Path> = LazyLock::new(|| {
    let weights = torch_zip(&sae_pickle(64, 128), &[0; 64 * 128 * 4]);
    std::fs::write(DIR.path().join("best_model.pt"), weights).expect("a file can be written");
    DIR.path()
});

fuzz_target!(|config: &[u8]| {
    std::fs::write(SAE.join("config.json"), config).expect("a file can be written");
    if let Ok(found) = inspect(*SAE, None) {
        let is = |key, value| found[0].facts.contains(&(key, String::from(value)));
        assert!(is("d_in", "64") && is("d_sae", "128"), "{:?}", found[0].facts);
    }
});
