use burn::tensor::Tensor;
use nanoscope_kernels::rms_norm;

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
}
