use burn::tensor::{Device, Tensor, TensorData};
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};

/// An SAE whose features are the activation's own coordinates, the `k` largest of which are kept.
///
/// # Panics
/// If `k` is 0 or more than `width`.
pub fn identity_sae(width: usize, k: usize, device: &Device) -> Sae {
    scaled_identity_sae(width, k, 1.0, device)
}

/// [`identity_sae`] with a decoder that multiplies by `scale`.
///
/// # Panics
/// If `k` is 0 or more than `width`.
pub fn scaled_identity_sae(width: usize, k: usize, scale: f32, device: &Device) -> Sae {
    let (w_enc, w_dec) = (Tensor::eye(width, device), Tensor::eye(width, device) * scale);
    signed_top_k(k, w_enc, w_dec)
}

/// An SAE with [`noise`] for weights, which keeps `k` features.
///
/// # Panics
/// If `k` is 0 or more than `d_sae`.
pub fn noisy_sae(d_in: usize, d_sae: usize, k: usize, device: &Device) -> Sae {
    let matrix = |seed, rows, columns| {
        let data = TensorData::new(noise(seed, rows * columns), [rows, columns]);
        Tensor::<2>::from_data(data, device)
    };
    signed_top_k(k, matrix(1, d_in, d_sae) * 0.3, matrix(2, d_sae, d_in))
}

/// A top-k SAE with these weights and no biases.
///
/// # Shapes
/// - `w_enc`: `[d_in, d_sae]`
/// - `w_dec`: `[d_sae, d_in]`
fn signed_top_k(k: usize, w_enc: Tensor<2>, w_dec: Tensor<2>) -> Sae {
    let ([d_in, d_sae], device) = (w_enc.dims(), w_enc.device());
    let config = SaeConfig::new(d_in, d_sae, Architecture::SignedTopK { k });
    let weights = SaeWeights::new(
        w_enc,
        Tensor::zeros([d_sae], &device),
        w_dec,
        Tensor::zeros([d_in], &device),
    );
    Sae::new(config.expect("k is at most d_sae"), weights).expect("the shapes fit")
}

/// Pseudo-random numbers in `-1..1`, the same on every machine.
pub fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
