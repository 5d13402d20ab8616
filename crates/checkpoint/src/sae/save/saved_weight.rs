//! A weight on its way into a file.

use burn::tensor::{DType, Tensor};

use crate::container::WeightDtype;
use crate::error::CheckpointError;

/// A tensor to be written, whose numbers are fetched when they are.
#[derive(Debug)]
pub(crate) struct SavedWeight {
    pub(crate) name: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: WeightDtype,
    values: Tensor<1>,
}

impl SavedWeight {
    pub(crate) fn matrix(name: &'static str, x: Tensor<2>, dtype: WeightDtype) -> Self {
        let [rows, columns] = x.dims();
        Self { name, shape: vec![rows, columns], dtype, values: x.reshape([rows * columns]) }
    }

    pub(crate) fn vector(name: &'static str, x: Tensor<1>, dtype: WeightDtype) -> Self {
        Self { name, shape: x.dims().to_vec(), dtype, values: x }
    }

    /// Numbers in it.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Calls `with` with the numbers, which exist twice no longer than that.
    pub(crate) fn with_values<T>(&self, with: impl FnOnce(&[f32]) -> T) -> T {
        let data = self.values.to_data().convert_dtype(DType::F32);
        with(data.as_slice().expect("the data were just made float32"))
    }

    /// Checks that each of `weights` fits its number type; `path` is where they are to go.
    pub(crate) fn check_all(
        weights: &[Self],
        path: &std::path::Path,
    ) -> Result<(), CheckpointError> {
        for weight in weights {
            if let Some(at) = weight.with_values(|values| weight.dtype.first_not_finite(values)) {
                let (path, tensor) = (path.to_owned(), weight.name.to_owned());
                return Err(CheckpointError::NotFinite { path, tensor, at });
            }
        }
        Ok(())
    }
}
