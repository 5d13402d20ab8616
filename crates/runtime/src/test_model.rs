//! A tiny model and an SAE for unit tests.

use burn::tensor::Tensor;
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
use nanoscope_transformer::{Era, Gpt, GptShape};

/// The width of the model's residual stream, and the number of features of [`sae`].
pub(crate) const WIDTH: usize = 64;

/// A transformer with random weights, 2 blocks and a vocabulary of 50 tokens.
pub(crate) fn gpt() -> Gpt {
    let shape = GptShape {
        sequence_len: 32,
        vocab_size: 50,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 1,
        n_embd: WIDTH,
    };
    Gpt::random(Era::E6.config(shape, None).unwrap(), 7, &nanoscope_device::for_tests())
}

/// An SAE that keeps the 4 largest numbers of an activation; its decoder is the identity matrix plus
/// `offset`.
pub(crate) fn sae(offset: f32) -> Sae {
    let device = nanoscope_device::for_tests();
    let config = SaeConfig::new(WIDTH, WIDTH, Architecture::SignedTopK { k: 4 }).unwrap();
    let (eye, zeros) = (Tensor::eye(WIDTH, &device), Tensor::zeros([WIDTH], &device));
    let weights = SaeWeights::new(eye.clone(), zeros.clone(), eye + offset, zeros);
    Sae::new(config, weights).unwrap()
}
