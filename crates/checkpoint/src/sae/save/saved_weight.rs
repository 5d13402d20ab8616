//! A weight to be written to a file.

use std::path::Path;

use burn::tensor::{DType, Tensor};
use serde::Serialize;

use crate::container::WeightDtype;
use crate::error::CheckpointError;
use crate::write::OutputFolder;

/// A tensor whose numbers are fetched when it is written.
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

    /// The count of its numbers.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Calls `with` with the numbers. A second copy of them exists only during the call.
    pub(crate) fn with_values<T>(&self, with: impl FnOnce(&[f32]) -> T) -> T {
        let data = self.values.to_data().convert_dtype(DType::F32);
        with(data.as_slice().expect("the data were just made float32"))
    }

    /// Writes `weights` and their `description` to two files of the folder `dir`, which appear when both
    /// are complete.
    pub(crate) fn write_folder(
        dir: &Path,
        (weights_file, weights): (&str, Vec<Self>),
        (config_file, description): (&str, &impl Serialize),
    ) -> Result<(), CheckpointError> {
        let folder = OutputFolder::create(dir)?;
        folder.save_tensors(weights_file, weights.into_iter().map(|x| (x.name.to_owned(), x)))?;
        let text = serde_json::to_vec_pretty(description).expect("numbers and strings make JSON");
        folder.write(config_file, &text)?;
        folder.finish()
    }

    /// Checks that `weights` fit their number types; `path` is the file for messages.
    pub(crate) fn check_all(weights: &[Self], path: &Path) -> Result<(), CheckpointError> {
        for weight in weights {
            let dtype = weight.dtype;
            let bad = weight
                .with_values(|values| dtype.first_not_finite(values).map(|at| (at, values[at])));
            if let Some((at, value)) = bad {
                return Err(CheckpointError::cannot_hold(path, weight.name, at, (value, dtype)));
            }
        }
        Ok(())
    }
}
