//! Normalisation of activations, and its inverse.

use burn::tensor::Tensor;

use crate::config::Normalization;

/// Added to the standard deviation, as SAELens and OpenAI do.
const EPSILON: f32 = 1e-5;

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
                let norm = not_infinite(inverse.scale);
                // Such a row is encoded as zeros; its numbers are not above 1e-22.
                let is_zero = norm.clone().equal_elem(0.0);
                x / norm.mask_fill(is_zero, f32::INFINITY)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_too_small_for_a_norm_becomes_zeros() {
        let device = nanoscope_testing::test_device();
        let x = Tensor::from_floats([[3.0, 4.0], [1e-30, 0.0], [0.0, 0.0]], &device);
        let found = Normalization::ConstantNormRescale.forward(x).into_data();
        let found = found.try_into_vec::<f32>().unwrap();
        let root = 2_f32.sqrt();
        assert!((found[0] - 0.6 * root).abs() < 1e-6 && (found[1] - 0.8 * root).abs() < 1e-6);
        assert_eq!(found[2..], [0.0; 4]);
    }
}
