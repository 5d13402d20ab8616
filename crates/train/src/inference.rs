//! Converts weights in training to an SAE.

use burn::tensor::Tensor;
use nanoscope_sae::{Architecture, MagnitudeWeights, Sae, SaeConfig, SaeWeights};

use crate::parameters::{Parameters, Weight};
use crate::recipe::Method;

/// Builds the SAE with these weights, for unscaled activations.
///
/// Every activation function here commutes with multiplication by a positive factor, so scaling
/// activations by `s` scales features by `s`. Biases and thresholds are therefore divided by `s`,
/// while `W_enc` and `W_dec` are unchanged. Features are then in the activation's own units, and
/// decoder rows keep their norm.
///
/// `batch_threshold` is the smallest value that batch-top-k has learned to keep.
pub(crate) fn sae(
    method: &Method,
    parameters: &Parameters,
    scale: f32,
    batch_threshold: f32,
) -> Sae {
    let [d_sae, d_in] = parameters.get(Weight::Encoder).dims();
    let (architecture, apply_b_dec_to_input) = match *method {
        Method::TopK { k, .. } => {
            (Architecture::TopK { k, rescale_acts_by_decoder_norm: false }, true)
        }
        Method::BatchTopK { .. } | Method::Matryoshka { .. } => (Architecture::JumpRelu, true),
        Method::JumpRelu { .. } => (Architecture::JumpRelu, false),
        Method::Relu { .. } => (Architecture::Relu, true),
        Method::Gated { .. } => (Architecture::Gated, true),
    };
    let vector = |part: Weight| parameters.get(part).squeeze_dim::<1>(0);
    let unscaled = |part: Weight| vector(part).div_scalar(scale);
    let threshold = match method {
        Method::JumpRelu { .. } => Some(vector(Weight::LogThreshold).exp().div_scalar(scale)),
        Method::BatchTopK { .. } | Method::Matryoshka { .. } => {
            let device = parameters.get(Weight::Encoder).device();
            Some(Tensor::full([d_sae], batch_threshold / scale, &device))
        }
        _ => None,
    };
    let magnitude = matches!(method, Method::Gated { .. }).then(|| MagnitudeWeights {
        r_mag: vector(Weight::Magnitude),
        b_mag: unscaled(Weight::MagnitudeBias),
    });
    let encoder = parameters.get(Weight::Encoder).transpose();
    let weights = SaeWeights {
        threshold,
        magnitude,
        ..SaeWeights::new(
            // Copied, so that the weight is contiguous.
            encoder.clone().zeros_like().slice_assign([0..d_in, 0..d_sae], encoder),
            unscaled(Weight::EncoderBias),
            parameters.get(Weight::Decoder),
            unscaled(Weight::DecoderBias),
        )
    };
    let sae = SaeConfig::new(d_in, d_sae, architecture)
        .and_then(|config| config.with_apply_b_dec_to_input(apply_b_dec_to_input))
        .and_then(|config| Sae::new(config, weights))
        .expect("the recipe's sizes were checked");
    if method.keeps_decoder_norm() {
        sae
    } else {
        sae.fold_w_dec_norm().expect("no feature is selected by comparison with others")
    }
}
