use burn::tensor::Device;
use nanoscope_transformer::{Era, Gpt, GptShape};

/// Sizes of a model that runs in milliseconds in a debug build. A test changes what it needs:
/// `GptShape { n_layer: 3, ..TINY_SHAPE }`.
pub const TINY_SHAPE: GptShape =
    GptShape { sequence_len: 32, vocab_size: 50, n_layer: 2, n_head: 2, n_kv_head: 1, n_embd: 64 };

/// A model of the newest era with full attention and random weights, the same at every call.
///
/// # Panics
/// If no model has this shape.
pub fn tiny_gpt(shape: GptShape, device: &Device) -> Gpt {
    let config = Era::E6.config(shape, None);
    Gpt::random(config.unwrap_or_else(|error| panic!("{shape:?}: {error}")), 7, device)
}
