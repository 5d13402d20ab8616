use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::{Activation, HookError, HookPoint, HookRouter};

/// A router that replaces activations with given ones or with zeros.
///
/// The former is activation patching (Meng et al. 2022, arXiv:2202.05262), the latter zero ablation.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    edits: BTreeMap<HookPoint, Edit>,
    mismatch: Option<HookError>,
}

#[derive(Debug, Clone)]
struct Edit {
    /// The replacement; `None` for zeros.
    with: Option<Activation>,
    reached: bool,
}

impl Patch {
    /// Creates a patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the activation at `point` with `activation`.
    pub fn replace(self, point: HookPoint, activation: Activation) -> Self {
        self.with(point, Some(activation))
    }

    /// Replaces the activation at `point` with zeros.
    pub fn zero(self, point: HookPoint) -> Self {
        self.with(point, None)
    }

    fn with(mut self, point: HookPoint, with: Option<Activation>) -> Self {
        self.edits.insert(point, Edit { with, reached: false });
        self
    }

    /// Checks after the pass that every replacement was made.
    ///
    /// # Errors
    /// [`HookError::ShapeMismatch`] if a replacement had another shape (the activation was left
    /// unchanged), [`HookError::NeverReached`] if the pass did not reach a patched point.
    pub fn finish(self) -> Result<(), HookError> {
        if let Some(mismatch) = self.mismatch {
            return Err(mismatch);
        }
        match self.edits.iter().find(|(_, edit)| !edit.reached) {
            Some((&point, _)) => Err(HookError::NeverReached { point }),
            None => Ok(()),
        }
    }
}

impl HookRouter for Patch {
    fn wants(&self, point: HookPoint) -> bool {
        self.edits.contains_key(&point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let Some(edit) = self.edits.get_mut(&point) else {
            return x;
        };
        edit.reached = true;
        match &edit.with {
            None => x.zeros_like(),
            Some(with) if with.shape() == x.dims() => with.tensor(),
            Some(with) => {
                self.mismatch.get_or_insert(HookError::ShapeMismatch {
                    point,
                    expected: x.dims().to_vec(),
                    found: with.shape().to_vec(),
                });
                x
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_of_another_shape_is_an_error_and_changes_nothing() {
        let device = nanoscope_testing::test_device();
        let point = HookPoint::MlpOut(1);
        let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device);
        let mut patch =
            Patch::new().replace(point, Activation::new(Tensor::<2>::zeros([2, 2], &device)));

        let out = patch.route(point, x.clone());

        assert_eq!(out.into_data(), x.into_data());
        assert_eq!(
            patch.finish().unwrap_err().to_string(),
            "blocks.1.hook_mlp_out has shape [1, 2], its replacement [2, 2]"
        );
    }

    #[test]
    fn a_patched_point_that_no_pass_reached_is_an_error() {
        let patch = Patch::new().zero(HookPoint::Z(0));

        assert_eq!(patch.finish(), Err(HookError::NeverReached { point: HookPoint::Z(0) }));
    }
}
