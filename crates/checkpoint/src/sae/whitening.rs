//! SAELens's whitening of activations, in a file beside an SAE that is still in training.

use std::path::Path;

use burn::tensor::{DType, Tensor};
use nanoscope_sae::Sae;

use crate::container::{Order, TensorFile};
use crate::error::{CheckpointError, SaeFileError};

/// SAELens's name of the normalisation.
pub(crate) const COVARIANCE_WHITENING: &str = "covariance_whitening";

/// The map `(x − mean) · matrix`, and its inverse.
#[derive(Debug)]
pub(crate) struct Whitening {
    file: TensorFile,
    d_in: usize,
}

const MEAN: &str = "mean";
const MATRIX: &str = "matrix";
const INVERSE: &str = "inverse_matrix";

impl Whitening {
    /// Opens the file at `path`, for activations of width `d_in`.
    pub(crate) fn open(path: &Path, d_in: usize) -> Result<Self, CheckpointError> {
        let file = TensorFile::open(path)?;
        file.info_of_shape(MEAN, &[d_in])?;
        file.info_of_shape(MATRIX, &[d_in, d_in])?;
        file.info_of_shape(INVERSE, &[d_in, d_in])?;
        Ok(Self { file, d_in })
    }

    /// Returns `sae`, which takes whitened activations, as one that takes them as they are.
    pub(crate) fn fold_into(&self, sae: &Sae) -> Result<Sae, CheckpointError> {
        let device = sae.decoder_norms().device();
        let matrix = |name| {
            let data = self.file.read(name, &[self.d_in, self.d_in], Order::AsStored)?;
            Ok::<_, CheckpointError>(Tensor::<2>::from_data(data, (&device, DType::F32)))
        };
        let mean = self.file.read(MEAN, &[self.d_in], Order::AsStored)?;
        let mean = Tensor::<1>::from_data(mean, (&device, DType::F32));
        sae.fold_whitening(mean, matrix(MATRIX)?, matrix(INVERSE)?).map_err(|source| {
            CheckpointError::SaeFile(SaeFileError::Sae {
                path: self.file.path().to_owned(),
                source,
            })
        })
    }
}
