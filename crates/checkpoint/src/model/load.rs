//! Loading a model's weights.

use std::fmt;

use burn::tensor::{Device, Tensor};
use nanoscope_kernels::{Matrix, is_host};
use nanoscope_transformer::{Era, Gpt, ParamSpec, WeightSource};

use crate::container::{MatrixDtype, WeightDtype};
use crate::error::CheckpointError;
use crate::model::description::Description;
use crate::model::files::ModelFiles;
use crate::model::kind::ModelKind;

/// A model read from files.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub gpt: Gpt,
    /// The program whose function it computes.
    pub kind: ModelKind,
    /// Eras of nanochat with the same weights and another function, if [`LoadOptions::era`] chose none.
    pub also_fits: Vec<Era>,
}

/// A callback that receives the bytes of weights read so far, and their total, both as float32.
pub type LoadProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// Options for [`ModelFiles::load_with`].
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// The era to read the weights as, where they fit several. Default: the likeliest.
    pub era: Option<Era>,
    /// The type of the matrices in memory. Default: a 16-bit type of their file, otherwise float32; float32 on
    /// GPUs. Computation is in float32.
    pub dtype: Option<MatrixDtype>,
    /// Called after each weight. Default: none.
    pub progress: Option<LoadProgress<'a>>,
}

impl fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions").field("era", &self.era).finish_non_exhaustive()
    }
}

impl ModelFiles {
    /// Loads the model onto `device`, one weight at a time.
    ///
    /// # Errors
    /// [`CheckpointError`] with the file and tensor, and the expected and found values.
    pub fn load(&self, device: &Device) -> Result<LoadedModel, CheckpointError> {
        self.load_with(device, LoadOptions::default())
    }

    /// The size of the model's weights in memory, in bytes, if they are loaded onto `device` with matrices
    /// of the type `dtype`; see [`LoadOptions::dtype`].
    ///
    /// # Errors
    /// Those of [`load_with`](Self::load_with) that do not need the weights.
    pub fn memory_bytes(
        &self,
        device: &Device,
        era: Option<Era>,
        dtype: Option<MatrixDtype>,
    ) -> Result<u64, CheckpointError> {
        let description = self.describe(era)?;
        let float32 = (!is_host(device)).then(MatrixDtype::default);
        Ok(description.bytes(dtype.or(float32)))
    }

    /// Loads the model onto `device` with `options`.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`CheckpointError::EraMismatch`] if the weights do not fit
    /// [`LoadOptions::era`], [`CheckpointError::DeviceDtype`] if `device` cannot hold
    /// [`LoadOptions::dtype`], and [`CheckpointError::TooLarge`] if a number does not fit it.
    pub fn load_with(
        &self,
        device: &Device,
        options: LoadOptions<'_>,
    ) -> Result<LoadedModel, CheckpointError> {
        let LoadOptions { era, dtype, progress } = options;
        let description = self.describe(era)?;
        let on_host = is_host(device);
        let is_supported = |dtype: WeightDtype| device.supports_dtype(dtype.burn());
        if let Some(dtype) = dtype
            && !on_host
            && !dtype.float().is_some_and(is_supported)
        {
            return Err(CheckpointError::DeviceDtype {
                path: description.source.path().to_owned(),
                dtype,
            });
        }
        let mut source = StateDict {
            done: 0,
            total: description.bytes(Some(MatrixDtype::default())),
            description: &description,
            device,
            on_host,
            dtype,
            progress,
        };
        let gpt = Gpt::load(description.config.clone(), &mut source, device)?;
        let Description { kind, also_fits, .. } = description;
        Ok(LoadedModel { gpt, kind, also_fits })
    }
}

/// Reads weights by name and counts their bytes.
struct StateDict<'a, 'p> {
    description: &'a Description,
    device: &'a Device,
    on_host: bool,
    dtype: Option<MatrixDtype>,
    done: u64,
    total: u64,
    progress: Option<LoadProgress<'p>>,
}

impl WeightSource for StateDict<'_, '_> {
    type Error = CheckpointError;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, CheckpointError> {
        let data = self.description.read(spec)?;
        self.count(spec);
        Ok(Tensor::from_data(data, self.device))
    }

    fn matrix(&mut self, spec: &ParamSpec) -> Result<Matrix, CheckpointError> {
        if self.on_host {
            let dtype = self.description.dtype(spec, self.dtype);
            if let Some(matrix) = self.description.host_matrix(spec, dtype)? {
                self.count(spec);
                return Ok(Matrix::Host(matrix));
            }
        }
        let asked = self.dtype.and_then(MatrixDtype::float);
        let Some(dtype) = asked.filter(|&dtype| dtype != WeightDtype::F32) else {
            return self.weight::<2>(spec).map(Matrix::Device);
        };
        let data = self.description.read_fitting(spec, dtype)?;
        self.count(spec);
        Ok(Matrix::Device(Tensor::<2>::from_data(data, self.device).cast(dtype.burn())))
    }
}

impl StateDict<'_, '_> {
    /// Counts a weight that was read.
    fn count(&mut self, spec: &ParamSpec) {
        self.done += (spec.shape.iter().product::<usize>() * WeightDtype::F32.bytes()) as u64;
        if let Some(progress) = &mut self.progress {
            progress(self.done, self.total);
        }
    }
}
