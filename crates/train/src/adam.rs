//! The Adam optimizer (Kingma & Ba 2014, arXiv:1412.6980).
//!
//! burn's optimizer keeps its state under ids that are new in every process. Here a checkpoint
//! stores the state by name, and a resampled feature can reset its part.

use burn::tensor::Tensor;

use crate::parameters::{Parameters, Weight};
use crate::recipe::Optimizer;

/// Adam (Kingma & Ba 2014, arXiv:1412.6980), with the bias correction in the step's size.
///
/// burn's own optimizer keeps its state private, keyed by ids that are new in every process. Here a
/// checkpoint stores the state by name, and resampling a feature resets its state.
#[derive(Debug, Clone)]
pub(crate) struct Adam {
    pub(crate) mean: Parameters,
    pub(crate) square: Parameters,
}

impl Adam {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        Self { mean: parameters.zeros_like(), square: parameters.zeros_like() }
    }

    /// Returns the weights after step number `step` (from 1).
    pub(crate) fn step(
        &mut self,
        optimizer: &Optimizer,
        lr: f64,
        step: u64,
        parameters: Parameters,
        gradients: &Parameters,
    ) -> Parameters {
        let (beta1, beta2) = (optimizer.beta1, optimizer.beta2);
        let step = step as f64;
        let rate = lr / (1.0 - beta1.powf(step));
        let root = (1.0 - beta2.powf(step)).sqrt();
        parameters.map(|part, weight| {
            let gradient = gradients.get(part);
            let mean = follow(&mut self.mean, part, gradient.clone(), beta1);
            let square = follow(&mut self.square, part, gradient.square(), beta2);
            let scale = square.sqrt().div_scalar(root).add_scalar(optimizer.epsilon);
            weight - mean.div(scale).mul_scalar(rate)
        })
    }
}

/// Updates the running mean of `part` with `value`.
fn follow(means: &mut Parameters, part: Weight, value: Tensor<2>, beta: f64) -> Tensor<2> {
    let mean = means.get(part).mul_scalar(beta) + value.mul_scalar(1.0 - beta);
    means.set(part, mean.clone());
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{download, upload};

    /// Expected values from `torch.optim.Adam(lr=0.1, eps=1e-3)` with the same gradients.
    #[test]
    fn three_steps_are_those_of_pytorch() {
        let device = nanoscope_testing::test_device();
        let part = |numbers: &[f32]| {
            let tensor = upload(numbers.to_vec(), [1, numbers.len()], &device);
            Parameters::new([(Weight::DecoderBias, tensor)])
        };
        let optimizer = Optimizer { epsilon: 1e-3, ..Optimizer::default() };
        let mut weights = part(&[1.0, -2.0, 0.5]);
        let mut adam = Adam::new(&weights);

        for (step, gradient) in
            [[0.1, -3.0, 0.0], [0.2, 1.0, 0.001], [-0.4, 0.5, 0.0]].iter().enumerate()
        {
            let step = step as u64 + 1;
            weights = adam.step(&optimizer, 0.1, step, weights, &part(gradient));
        }

        let found = download(weights.get(Weight::DecoderBias));
        for (found, expected) in found.iter().zip(EXPECTED) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    const EXPECTED: [f32; 3] = [0.824_384_9, -1.839_469_7, 0.448_117_82];
}
