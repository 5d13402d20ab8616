use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;

use crate::{HookError, HookPoint, HookRouter};

/// A router that records the activations at given points.
///
/// Recording does not change the pass in any bit: a tensor is a reference-counted handle, and the
/// recorder keeps a second one.
#[derive(Debug, Clone, Default)]
pub struct ActivationRecorder {
    points: BTreeSet<HookPoint>,
    recorded: BTreeMap<HookPoint, Activation>,
}

impl ActivationRecorder {
    /// Creates a recorder for `points`.
    pub fn new(points: impl IntoIterator<Item = HookPoint>) -> Self {
        Self { points: points.into_iter().collect(), recorded: BTreeMap::new() }
    }

    /// Returns the recorded activations after the pass.
    ///
    /// # Errors
    /// [`HookError::NeverReached`] for the first point that the pass did not reach.
    pub fn finish(self) -> Result<ActivationCache, HookError> {
        match self.points.iter().find(|point| !self.recorded.contains_key(point)) {
            Some(&point) => Err(HookError::NeverReached { point }),
            None => Ok(ActivationCache { activations: self.recorded }),
        }
    }
}

impl HookRouter for ActivationRecorder {
    fn wants(&self, point: HookPoint) -> bool {
        self.points.contains(&point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        if self.wants(point) {
            self.recorded.insert(point, Activation::new(x.clone()));
        }
        x
    }
}

/// The recorded activations of one pass, by hook point in execution order.
#[derive(Debug, Clone, Default)]
pub struct ActivationCache {
    activations: BTreeMap<HookPoint, Activation>,
}

impl ActivationCache {
    /// The activation at `point`, if it was recorded.
    pub fn get(&self, point: HookPoint) -> Option<&Activation> {
        self.activations.get(&point)
    }

    /// Iterates over all activations, in the order in which the pass computed them.
    pub fn iter(&self) -> impl Iterator<Item = (HookPoint, &Activation)> {
        self.activations.iter().map(|(&point, activation)| (point, activation))
    }
}

/// An activation of any rank.
#[derive(Debug, Clone)]
pub struct Activation {
    flat: Tensor<1>,
    shape: Vec<usize>,
}

impl Activation {
    /// Wraps `x`, which keeps its rank and shape.
    pub fn new<const D: usize>(x: Tensor<D>) -> Self {
        let shape = x.dims().to_vec();
        let len = shape.iter().product::<usize>();
        Self { flat: x.reshape([len]), shape }
    }

    /// The activation's shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The activation as a tensor of rank `D`.
    ///
    /// # Panics
    /// If `D` is not the rank of [`shape`](Self::shape).
    pub fn tensor<const D: usize>(&self) -> Tensor<D> {
        let shape: [usize; D] =
            self.shape.clone().try_into().expect("the requested rank is the activation's");
        self.flat.clone().reshape(shape)
    }

    /// The activation's values in row-major order.
    pub fn to_vec(&self) -> Vec<f32> {
        self.flat.to_data().iter::<f32>().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_the_pass_never_reached_is_an_error_that_names_it() {
        let device = nanoscope_testing::test_device();
        let mut recorder = ActivationRecorder::new([HookPoint::Embed, HookPoint::ResidPost(3)]);

        let _ = recorder.route(HookPoint::Embed, Tensor::<1>::zeros([2], &device));

        let error = recorder.finish().unwrap_err();
        assert_eq!(error, HookError::NeverReached { point: HookPoint::ResidPost(3) });
        assert_eq!(error.to_string(), "the forward pass never reached blocks.3.hook_resid_post");
    }

    #[test]
    fn a_recorded_tensor_comes_back_with_its_rank_and_values() {
        let device = nanoscope_testing::test_device();
        let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);

        let activation = Activation::new(x.clone().transpose());

        assert_eq!(activation.shape(), [3, 2]);
        assert_eq!(activation.to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(activation.tensor::<2>().into_data(), x.transpose().into_data());
    }
}
