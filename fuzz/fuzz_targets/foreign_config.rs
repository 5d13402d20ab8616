//! Reads arbitrary bytes as the configuration of another tool's SAE, which the first byte chooses: an
//! error, or an SAE with its weights.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nanoscope_fuzz::{load_sae, put, safetensors, tensors_pickle, torch_zip};

/// The weights of each tool, and the path of its configuration.
static TOOLS: LazyLock<Vec<(PathBuf, &str)>> = LazyLock::new(|| {
    let linear: [(&str, &[usize]); 4] = [
        ("encoder.weight", &[8, 4]),
        ("encoder.bias", &[8]),
        ("decoder.weight", &[4, 8]),
        ("decoder.bias", &[4]),
    ];
    let gemma = safetensors(&[
        ("w_enc", &[4, 8]),
        ("b_enc", &[8]),
        ("w_dec", &[8, 4]),
        ("b_dec", &[4]),
        ("threshold", &[8]),
    ]);
    let sparsify = safetensors(&[
        ("encoder.weight", &[8, 4]),
        ("encoder.bias", &[8]),
        ("W_dec", &[8, 4]),
        ("b_dec", &[4]),
    ]);
    let mut distilled = linear.to_vec();
    distilled.push(("log_jumprelu_threshold", &[8]));
    distilled.push(("dataset_average_activation_norm.blocks.1.hook_resid_post", &[]));
    let tracer =
        safetensors(&[("W_enc", &[8, 4]), ("b_enc", &[8]), ("W_dec", &[8, 4]), ("b_dec", &[4])]);
    let dictionary = tensors_pickle(&[
        ("encoder.weight", &[8, 4]),
        ("encoder.bias", &[8]),
        ("decoder.weight", &[4, 8]),
        ("b_dec", &[4]),
        ("k", &[1]),
        ("threshold", &[1]),
    ]);
    vec![
        (
            put("gemma/resid_post/layer_1_width_8/params.safetensors", &gemma),
            "gemma/resid_post/layer_1_width_8/config.json",
        ),
        (put("sparsify/layers.1.mlp/sae.safetensors", &sparsify), "sparsify/layers.1.mlp/cfg.json"),
        (
            put("llama/checkpoints/final.safetensors", &safetensors(&linear)),
            "llama/hyperparams.json",
        ),
        (
            put("distilled/sae_weights.safetensors", &safetensors(&distilled)),
            "distilled/config.json",
        ),
        (put("tracer/layer_1.safetensors", &tracer), "tracer/config.yaml"),
        (
            put("dictionary/ae.pt", &torch_zip(&dictionary, &[0; 8 * 4 * 4])),
            "dictionary/config.json",
        ),
    ]
});

fuzz_target!(|bytes: &[u8]| {
    let [tool, config @ ..] = bytes else { return };
    let (weights, path) = &TOOLS[usize::from(*tool) % TOOLS.len()];
    put(path, config);
    load_sae(weights);
});
