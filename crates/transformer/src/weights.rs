use burn::tensor::{Device, Tensor};
use nanoscope_kernels::Matrix;

use crate::params::ParamSpec;

/// A source of a model's weights.
///
/// [`Gpt::load`](crate::Gpt::load) requests each weight once, in the order of
/// [`GptConfig::params`](crate::GptConfig::params), and moves it into the model, so a source never
/// needs to hold more than one tensor at a time.
pub trait WeightSource {
    /// The error of a weight that cannot be supplied.
    type Error;

    /// Returns the weight that `spec` describes, as float32 on the model's device.
    ///
    /// # Shapes
    /// - output: `spec.shape`, contiguous; a linear layer is `[d_in, d_out]`
    ///
    /// # Errors
    /// Those of the source: a missing tensor, another shape, an unreadable file.
    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, Self::Error>;

    /// Returns the matrix that `spec` describes. A source can leave it in the type and orientation of its
    /// file; by default it is [`weight`](Self::weight).
    ///
    /// # Shapes
    /// - output: `spec.shape`
    ///
    /// # Errors
    /// As [`weight`](Self::weight).
    fn matrix(&mut self, spec: &ParamSpec) -> Result<Matrix, Self::Error> {
        self.weight::<2>(spec).map(Matrix::Device)
    }
}

/// A weight as a model holds it.
#[derive(Debug, Clone)]
pub enum Weight {
    /// A matrix, in its type and orientation.
    Matrix(Matrix),
    /// Float32 numbers in one dimension.
    Vector(Tensor<1>),
}

impl Weight {
    /// The numbers in float32, row-major.
    ///
    /// # Shapes
    /// - output: the numbers of [`ParamSpec::shape`] in one dimension
    pub fn flattened(&self, device: &Device) -> Tensor<1> {
        match self {
            Self::Matrix(matrix) => matrix.to_tensor(device).flatten(0, 1),
            Self::Vector(numbers) => numbers.clone(),
        }
    }
}
