//! The Adam optimizer (Kingma & Ba 2014, arXiv:1412.6980).
//!
//! burn's optimizer keeps its state under ids that are new in every process. Here a checkpoint
//! stores the state by name, and a resampled feature can reset its part.

use burn::tensor::Tensor;
use nanoscope_kernels::{has_kernels, to_host};
use pulp::Arch;
use rayon::prelude::*;

use crate::parameters::{Parameters, upload};
use crate::recipe::Optimizer;

/// Adam (Kingma & Ba 2014, arXiv:1412.6980), with the bias correction in the step's size.
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
        mut gradients: Parameters,
    ) -> Parameters {
        let rates = Rates::new(optimizer, lr, step);
        parameters.map(|part, weight| {
            let state = [weight, self.mean.take(part), self.square.take(part)];
            let gradient = gradients.take(part);
            let [weight, mean, square] = if has_kernels(&gradient) {
                rates.step_on_host(state, gradient)
            } else {
                rates.step_on_device(state, gradient)
            };
            self.mean.insert(part, mean);
            self.square.insert(part, square);
            weight
        })
    }
}

/// The factors of a step.
#[derive(Debug, Clone, Copy)]
struct Rates {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    /// The learning rate, corrected for the bias of the mean.
    rate: f64,
    /// The square root of the correction for the bias of the squares.
    root: f64,
}

/// Numbers of a tensor that a thread changes at a time.
const AT_ONCE: usize = 1 << 14;

impl Rates {
    fn new(optimizer: &Optimizer, lr: f64, step: u64) -> Self {
        let &Optimizer { beta1, beta2, epsilon, .. } = optimizer;
        let step = step as f64;
        let rate = lr / (1.0 - beta1.powf(step));
        Self { beta1, beta2, epsilon, rate, root: (1.0 - beta2.powf(step)).sqrt() }
    }

    /// Changes a weight and its running means by one operation of the device after the other.
    fn step_on_device(
        self,
        [weight, mean, square]: [Tensor<2>; 3],
        gradient: Tensor<2>,
    ) -> [Tensor<2>; 3] {
        let Self { beta1, beta2, epsilon, rate, root } = self;
        let follow = |mean: Tensor<2>, value: Tensor<2>, beta: f64| {
            mean.mul_scalar(beta) + value.mul_scalar(1.0 - beta)
        };
        let mean = follow(mean, gradient.clone(), beta1);
        let square = follow(square, gradient.square(), beta2);
        let scale = square.clone().sqrt().div_scalar(root).add_scalar(epsilon);
        [weight - mean.clone().div(scale).mul_scalar(rate), mean, square]
    }

    /// Computes the same in one pass over the host's memory, on all threads.
    fn step_on_host(self, state: [Tensor<2>; 3], gradient: Tensor<2>) -> [Tensor<2>; 3] {
        let (shape, device) = (gradient.dims(), gradient.device());
        let [mut weight, mut mean, mut square] = state.map(to_host);
        let gradient = to_host(gradient);
        let arch = Arch::new();
        let state = weight.par_chunks_mut(AT_ONCE);
        let state = state.zip(mean.par_chunks_mut(AT_ONCE)).zip(square.par_chunks_mut(AT_ONCE));
        state.zip(gradient.par_chunks(AT_ONCE)).for_each(|(((weight, mean), square), gradient)| {
            arch.dispatch(|| self.step_chunk(weight, mean, square, gradient));
        });
        [weight, mean, square].map(|numbers| upload(numbers, shape, &device))
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "compiled for the registers of the caller")]
    fn step_chunk(
        self,
        weight: &mut [f32],
        mean: &mut [f32],
        square: &mut [f32],
        gradient: &[f32],
    ) {
        let [beta1, beta2, rest1, rest2, epsilon, rate, root] = [
            self.beta1,
            self.beta2,
            1.0 - self.beta1,
            1.0 - self.beta2,
            self.epsilon,
            self.rate,
            self.root,
        ]
        .map(|factor| factor as f32);
        let state = weight.iter_mut().zip(mean).zip(square);
        for (((weight, mean), square), gradient) in state.zip(gradient) {
            *mean = *mean * beta1 + gradient * rest1;
            *square = *square * beta2 + gradient * gradient * rest2;
            *weight -= *mean / (square.sqrt() / root + epsilon) * rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Weight;

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
            weights = adam.step(&optimizer, 0.1, step, weights, part(gradient));
        }

        let found = to_host(weights.get(Weight::DecoderBias));
        for (found, expected) in found.iter().zip(EXPECTED) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn a_step_on_the_host_is_one_by_operations() {
        let device = nanoscope_testing::test_device();
        let numbers = |seed| nanoscope_testing::noise(seed, 3 * (AT_ONCE + 5));
        let tensor = |numbers| upload(numbers, [3, AT_ONCE + 5], &device);
        let squares: Vec<f32> = numbers(3).iter().map(|number| number * number).collect();
        let state = [tensor(numbers(1)), tensor(numbers(2)), tensor(squares)];
        let rates = Rates::new(&Optimizer::default(), 0.01, 7);

        let on_host = rates.step_on_host(state.clone(), tensor(numbers(4)));
        let on_device = rates.step_on_device(state, tensor(numbers(4)));

        for (found, expected) in on_host.into_iter().zip(on_device) {
            let (found, expected) = (to_host(found), to_host(expected));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
            }
        }
    }

    const EXPECTED: [f32; 3] = [0.824_384_9, -1.839_469_7, 0.448_117_82];
}
