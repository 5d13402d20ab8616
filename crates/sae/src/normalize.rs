//! What happens to activations before they are encoded, and back.

use burn::tensor::Tensor;

use crate::config::Normalization;

/// Added to the standard deviation, as SAELens and OpenAI do.
const EPSILON: f32 = 1e-5;
/// Below any norm that a sum of squares in float32 can tell from zero.
const SMALLEST_NORM: f32 = 1e-30;

/// How what is decoded becomes an activation again: `y · scale + shift`.
#[derive(Debug)]
pub(crate) struct Back {
    /// `[rows, 1]`
    pub(crate) scale: Tensor<2>,
    /// `[rows, 1]`
    pub(crate) shift: Option<Tensor<2>>,
}

impl Normalization {
    /// What is encoded of `x`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`; the output has the same shape
    pub(crate) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::None => x,
            Self::ExpectedAverageOnlyIn { scale } => x * scale,
            Self::ConstantNormRescale => {
                let back = self.back(x.clone()).expect("rows have a norm");
                // Where the norm is 0 so is every number.
                x / back.scale.clamp_min(SMALLEST_NORM)
            }
            Self::LayerNorm => {
                let Back { scale, shift } = self.back(x.clone()).expect("rows have a deviation");
                (x - shift.expect("rows have a mean")) / (scale + EPSILON)
            }
        }
    }

    /// The way back, where it depends on the activation. (The constant
    /// [`ExpectedAverageOnlyIn`](Self::ExpectedAverageOnlyIn) is part of the decoder's rows.)
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, the activations that were encoded
    pub(crate) fn back(self, x: Tensor<2>) -> Option<Back> {
        let [_, d_in] = x.dims();
        match self {
            Self::None | Self::ExpectedAverageOnlyIn { .. } => None,
            Self::ConstantNormRescale => {
                let norm = x.square().sum_dim(1).sqrt();
                Some(Back { scale: norm / (d_in as f32).sqrt(), shift: None })
            }
            Self::LayerNorm => {
                let mean = x.clone().mean_dim(1);
                let centred = x - mean.clone();
                // Unbiased, as PyTorch's `std` is.
                let variance = centred.square().sum_dim(1) / (d_in as f32 - 1.0);
                Some(Back { scale: variance.sqrt(), shift: Some(mean) })
            }
        }
    }

    /// What the decoder's output is multiplied by, whatever the activation.
    pub(crate) fn constant_back(self) -> f32 {
        match self {
            Self::ExpectedAverageOnlyIn { scale } => 1.0 / scale,
            Self::None | Self::ConstantNormRescale | Self::LayerNorm => 1.0,
        }
    }
}
