use burn::tensor::Tensor;

use crate::layout::ParamSpec;

/// Where a model's weights come from.
///
/// [`Gpt::load`](crate::Gpt::load) asks for each weight once, in the order of
/// [`GptConfig::params`](crate::GptConfig::params), and puts it straight into the model; so a
/// source need hold no more than one tensor beside it.
pub trait WeightSource {
    /// Why a weight could not be had.
    type Error;

    /// The weight that `spec` describes, as float32 on the model's device.
    ///
    /// # Shapes
    /// - output: `spec.shape`, contiguous; a linear layer is `[d_in, d_out]`
    ///
    /// # Errors
    /// Whatever the source runs into: a missing tensor, another shape, an unreadable file.
    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, Self::Error>;
}
