//! Normalisation of activations, and its inverse.

use burn::tensor::Tensor;

use crate::config::Normalization;

/// Added to the standard deviation, as SAELens and OpenAI do.
const EPSILON: f32 = 1e-5;
/// Below any norm that a sum of squares in float32 can distinguish from zero.
const MIN_NORM: f32 = 1e-30;

/// The inverse of a normalisation: `y · scale + shift`.
#[derive(Debug)]
pub(crate) struct Inverse {
    /// `[rows, 1]`
    pub(crate) scale: Tensor<2>,
    /// `[rows, 1]`
    pub(crate) shift: Option<Tensor<2>>,
}

impl Normalization {
    /// Normalises `x`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`; the output has the same shape
    pub(crate) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::None => x,
            Self::ExpectedAverageOnlyIn { scale } => x * scale,
            Self::ConstantNormRescale => {
                let inverse = self.inverse(x.clone()).expect("rows have a norm");
                // Where the norm is 0, so are all values.
                x / not_infinite(inverse.scale).clamp_min(MIN_NORM)
            }
            Self::LayerNorm => {
                let Inverse { scale, shift } =
                    self.inverse(x.clone()).expect("rows have a deviation");
                (x - shift.expect("rows have a mean")) / (not_infinite(scale) + EPSILON)
            }
        }
    }

    /// The inverse for each row of `x`; `None` if it does not depend on the activation. (The inverse of
    /// [`ExpectedAverageOnlyIn`](Self::ExpectedAverageOnlyIn) is part of the directions.)
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, the activations that were encoded
    pub(crate) fn inverse(self, x: Tensor<2>) -> Option<Inverse> {
        let [_, d_in] = x.dims();
        match self {
            Self::None | Self::ExpectedAverageOnlyIn { .. } => None,
            Self::ConstantNormRescale => {
                let norm = x.square().sum_dim(1).sqrt();
                Some(Inverse { scale: norm / (d_in as f32).sqrt(), shift: None })
            }
            Self::LayerNorm => {
                let mean = x.clone().mean_dim(1);
                let centred = x - mean.clone();
                // Unbiased, as PyTorch's `std` is.
                let variance = centred.square().sum_dim(1) / (d_in as f32 - 1.0);
                Some(Inverse { scale: variance.sqrt(), shift: Some(mean) })
            }
        }
    }

    /// The factor of the reconstruction that is the same for every activation.
    pub(crate) fn constant_inverse(self) -> f32 {
        match self {
            Self::ExpectedAverageOnlyIn { scale } => 1.0 / scale,
            Self::None | Self::ConstantNormRescale | Self::LayerNorm => 1.0,
        }
    }
}

/// Makes infinite numbers NaN. The squares of large numbers overflow float32; divided by an infinite
/// norm, the row would be zeros and pass for an activation.
fn not_infinite(scale: Tensor<2>) -> Tensor<2> {
    scale.clone() + (scale.clone() - scale)
}
