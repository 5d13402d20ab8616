//! A tiny model and an SAE for unit tests.

use burn::tensor::Tensor;
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
use nanoscope_testing::{TINY_SHAPE, test_device, tiny_gpt};
use nanoscope_transformer::Gpt;

/// The width of the model's residual stream, and the number of features of [`sae`].
pub(crate) const WIDTH: usize = TINY_SHAPE.n_embd;

/// A transformer with random weights, 2 blocks and a vocabulary of 50 tokens.
pub(crate) fn gpt() -> Gpt {
    tiny_gpt(TINY_SHAPE, &test_device())
}

/// An SAE that keeps the 4 largest numbers of an activation; its decoder is the identity matrix plus
/// `offset`.
pub(crate) fn sae(offset: f32) -> Sae {
    let device = test_device();
    let config = SaeConfig::new(WIDTH, WIDTH, Architecture::SignedTopK { k: 4 }).unwrap();
    let (eye, zeros) = (Tensor::eye(WIDTH, &device), Tensor::zeros([WIDTH], &device));
    let weights = SaeWeights::new(eye.clone(), zeros.clone(), eye + offset, zeros);
    Sae::new(config, weights).unwrap()
}
