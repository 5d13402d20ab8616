//! Loading a model's weights.

use std::fmt;

use burn::tensor::{Device, Tensor};
use nanoscope_transformer::{Era, Gpt, Matrix, ParamSpec, WeightSource};

use crate::container::Dtype;
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

/// A callback that receives the bytes of weights read so far, and their total.
pub type LoadProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// Options for [`ModelFiles::load_with`].
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// The era to read the weights as, where they fit several. Default: the likeliest.
    pub era: Option<Era>,
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

    /// Loads the model onto `device` with `options`.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`CheckpointError::EraMismatch`] if the weights do not fit
    /// [`LoadOptions::era`].
    pub fn load_with(
        &self,
        device: &Device,
        options: LoadOptions<'_>,
    ) -> Result<LoadedModel, CheckpointError> {
        let LoadOptions { era, progress } = options;
        let description = self.describe(era)?;
        let mut source = StateDict {
            done: 0,
            total: description.bytes(),
            description: &description,
            device,
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
    done: u64,
    total: u64,
    progress: Option<LoadProgress<'p>>,
}

impl WeightSource for StateDict<'_, '_> {
    type Error = CheckpointError;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, CheckpointError> {
        let data = self.description.read(spec)?;
        self.count(data.num_elements());
        Ok(Tensor::from_data(data, self.device))
    }

    fn matrix(&mut self, spec: &ParamSpec) -> Result<Matrix, CheckpointError> {
        if nanoscope_transformer::is_host(self.device)
            && let Some(matrix) = self.description.mapped(spec)?
        {
            self.count(spec.shape.iter().product());
            return Ok(Matrix::Host(matrix));
        }
        self.weight::<2>(spec).map(Matrix::Device)
    }
}

impl StateDict<'_, '_> {
    /// Counts numbers that were read.
    fn count(&mut self, numbers: usize) {
        self.done += numbers as u64 * Dtype::F32.size() as u64;
        if let Some(progress) = &mut self.progress {
            progress(self.done, self.total);
        }
    }
}
