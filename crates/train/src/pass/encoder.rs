//! Pre-activations, and the gradients of a bias that is subtracted before the encoder.

use burn::tensor::Tensor;
use nanoscope_kernels::to_host;
use pulp::Arch;
use rayon::prelude::*;

use crate::parameters::{Parameters, Weight, upload};

/// The activations that are encoded: as they are, or with `b_dec` subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Whole,
    WithoutDecoderBias,
}

/// Computes the pre-activations, `[rows, d_sae]`: the product with the encoder is the one dense
/// product of a sparse pass.
///
/// # Shapes
/// - `x`: `[rows, d_in]`
pub(super) fn pre_activations(parameters: &Parameters, x: Tensor<2>, input: Input) -> Vec<f32> {
    let turned = parameters.get(Weight::Encoder).transpose();
    let mut bias = parameters.get(Weight::EncoderBias);
    if input == Input::WithoutDecoderBias {
        // `(x − b_dec) · W + b = x · W + (b − b_dec · W)`.
        bias = bias - parameters.get(Weight::DecoderBias).matmul(turned.clone());
    }
    let bias = to_host(bias);
    let mut pre = to_host(x.matmul(turned));
    let arch = Arch::new();
    pre.par_chunks_exact_mut(bias.len()).with_min_len(16).for_each(|row| {
        arch.dispatch(|| row.iter_mut().zip(&bias).for_each(|(pre, bias)| *pre += bias));
    });
    pre
}

/// Gradient of `b_dec`, `[1, d_in]`.
///
/// # Shapes
/// - `by_reconstruction`: the part that comes from the reconstruction, `[d_in]`
/// - `by_pre`: the gradient of the pre-activations, summed over the rows, `[d_sae]`
pub(super) fn decoder_bias_gradient(
    parameters: &Parameters,
    by_reconstruction: Vec<f32>,
    by_pre: Vec<f32>,
    input: Input,
) -> Tensor<2> {
    let encoder = parameters.get(Weight::Encoder);
    let ([d_sae, d_in], device) = (encoder.dims(), encoder.device());
    let direct = upload(by_reconstruction, [1, d_in], &device);
    match input {
        Input::Whole => direct,
        Input::WithoutDecoderBias => direct - upload(by_pre, [1, d_sae], &device).matmul(encoder),
    }
}
