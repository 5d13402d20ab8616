use burn::tensor::Tensor;

use crate::config::{NormConfig, NormKind};

/// A norm over the last dimension, with its weights.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub(crate) config: NormConfig,
    pub(crate) gain: Option<Tensor<1>>, // [d]
    pub(crate) bias: Option<Tensor<1>>, // [d]
}

impl Norm {
    /// Normalises `x`, without gain and bias.
    ///
    /// # Shapes
    /// - `x`: `[.., d]`; the output has the same shape
    pub(crate) fn normalize<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = match self.config.kind {
            NormKind::Rms | NormKind::RmsGain => x,
            NormKind::LayerNorm => x.clone() - x.mean_dim(D - 1),
        };
        rms_norm(x, self.config.epsilon)
    }

    /// Applies gain and bias to normalised `x`.
    ///
    /// # Shapes
    /// - `x`: `[.., d]`; the output has the same shape
    pub(crate) fn affine<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = match &self.gain {
            Some(gain) => x * gain.clone().unsqueeze(),
            None => x,
        };
        match &self.bias {
            Some(bias) => x + bias.clone().unsqueeze(),
            None => x,
        }
    }

    /// Computes the whole norm.
    ///
    /// # Shapes
    /// - `x`: `[.., d]`; the output has the same shape
    pub(crate) fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.affine(self.normalize(x))
    }
}

/// Root-mean-square norm over the last dimension, without weights: `x / sqrt(mean(x²) + epsilon)`.
///
/// As in Zhang & Sennrich 2019 (arXiv:1910.07467). In nanochat `epsilon` is [`f32::EPSILON`], the
/// default of `torch.nn.functional.rms_norm`.
///
/// # Shapes
/// - `x`: `[.., d]`; the output has the same shape
pub fn rms_norm<const D: usize>(x: Tensor<D>, epsilon: f32) -> Tensor<D> {
    let mean_square = x.clone().square().mean_dim(D - 1);
    x / (mean_square + epsilon).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_norm_subtracts_the_mean_and_applies_gain_and_bias() {
        let device = nanoscope_testing::test_device();
        let norm = Norm {
            config: NormConfig { kind: NormKind::LayerNorm, epsilon: 0.75 },
            gain: Some(Tensor::from_floats([2.0, 3.0], &device)),
            bias: Some(Tensor::from_floats([0.5, -0.5], &device)),
        };
        let x = Tensor::<2>::from_floats([[2.0, 3.0]], &device);

        // Mean 2.5, variance 0.25: (x - 2.5) / sqrt(0.25 + 0.75).
        let normalized = norm.normalize(x.clone()).into_data().try_to_vec::<f32>().unwrap();
        let out = norm.apply(x).into_data().try_to_vec::<f32>().unwrap();

        assert_eq!(normalized, [-0.5, 0.5]);
        assert_eq!(out, [-0.5, 1.0]);
    }

    #[test]
    fn a_row_is_divided_by_its_root_mean_square() {
        let device = nanoscope_testing::test_device();
        let x = Tensor::<2>::from_floats([[3.0, 4.0], [0.0, 0.0]], &device);

        let out = rms_norm(x, f32::EPSILON).into_data().try_to_vec::<f32>().unwrap();

        let rms = 12.5_f32.sqrt();
        assert!((out[0] - 3.0 / rms).abs() < 1e-6 && (out[1] - 4.0 / rms).abs() < 1e-6);
        assert_eq!(&out[2..], [0.0, 0.0]);
    }

    #[test]
    fn the_epsilon_is_added_to_the_mean_square() {
        let device = nanoscope_testing::test_device();
        let x = Tensor::<2>::from_floats([[1e-3, 1e-3]], &device);

        let norm = |epsilon| {
            let out = rms_norm(x.clone(), epsilon).into_data().try_to_vec::<f32>().unwrap();
            out[0]
        };

        // 1e-3 / sqrt(1e-6 + 1.1920929e-7), and 1e-3 / sqrt(4e-6)
        assert!((norm(f32::EPSILON) - 0.945_254).abs() < 1e-5, "{}", norm(f32::EPSILON));
        assert!((norm(3e-6) - 0.5).abs() < 1e-5, "{}", norm(3e-6));
    }
}
