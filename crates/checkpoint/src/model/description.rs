//! A model's configuration together with the names of its weights.

use std::collections::BTreeSet;

use burn::tensor::TensorData;
use nanoscope_transformer::{Era, GptConfig, HostMatrix, ParamSpec};

use crate::container::{Dtype, Order, TensorSource};
use crate::error::CheckpointError;
use crate::model::families::{Part, Stored};
use crate::model::kind::ModelKind;
use crate::model::weight_naming::WeightNaming;

/// Everything known about a model before its weights are read.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) source: TensorSource,
    pub(crate) naming: WeightNaming,
    pub(crate) config: GptConfig,
    pub(crate) kind: ModelKind,
    /// Eras with the same weights and another function, if nobody chose one.
    pub(crate) also_fits: Vec<Era>,
    #[cfg_attr(not(feature = "sae"), expect(dead_code, reason = "only `inspect` shows it"))]
    /// The configuration exactly as stored in the file.
    pub(crate) raw: serde_json::Value,
}

impl Description {
    /// Checks that every weight is present in the expected shape, and that there are no others.
    pub(crate) fn check(&self) -> Result<(), CheckpointError> {
        let mut expected = BTreeSet::new();
        for spec in self.config.params() {
            let stored = self.naming.stored(&spec);
            let found = self.source.info_of_shape(&stored.name, &stored.shape)?.dtype;
            if matches!(self.naming, WeightNaming::Family(_)) && !found.is_float() {
                let (path, tensor) = (self.source.path().to_owned(), stored.name);
                return Err(CheckpointError::NotFloats { path, tensor, found });
            }
            expected.insert(stored.name);
        }
        let of_model = |name: &&str| self.naming.is_of_model(name);
        match self
            .source
            .tensors()
            .map(|(name, _)| name)
            .filter(of_model)
            .find(|name| !expected.contains(*name))
        {
            Some(name) => Err(CheckpointError::UnexpectedTensor {
                path: self.source.path().to_owned(),
                tensor: name.to_owned(),
                kind: self.kind,
            }),
            None => Ok(()),
        }
    }

    /// Reads the weight `spec` as float32.
    ///
    /// # Shapes
    /// - output: `spec.shape`
    pub(crate) fn read(&self, spec: &ParamSpec) -> Result<TensorData, CheckpointError> {
        let Stored { name, shape, part, transposed, plus } = self.naming.stored(spec);
        if part == Part::Whole && plus == 0.0 {
            let order = if transposed { Order::Transposed } else { Order::AsStored };
            return self.source.read(&name, &spec.shape, order);
        }
        let taken = part.take(self.source.read(&name, &shape, Order::AsStored)?);
        let [rows, columns] = match taken.shape().as_slice() {
            &[rows, columns] if transposed => [rows, columns],
            _ => [taken.num_elements(), 1],
        };
        let numbers: Vec<f32> = taken.iter::<f32>().map(|value| value + plus).collect();
        let values = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
        Ok(TensorData::new(values.map(|at| numbers[at]).collect::<Vec<_>>(), spec.shape.clone()))
    }

    /// The matrix `spec` of another family than nanochat as its file has it, if it can stay there.
    pub(crate) fn mapped(&self, spec: &ParamSpec) -> Result<Option<HostMatrix>, CheckpointError> {
        let Stored { name, shape, part, transposed, plus } = self.naming.stored(spec);
        let is_plain = part == Part::Whole && plus == 0.0;
        if !matches!(self.naming, WeightNaming::Family(_)) || !is_plain {
            return Ok(None);
        }
        let data = self.source.mapped(&name, &shape)?;
        Ok(data.and_then(|data| HostMatrix::new(data, transposed)))
    }

    /// Returns the size of the weights in memory, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers = |spec: &ParamSpec| spec.shape.iter().product::<usize>() as u64;
        self.config.params().iter().map(numbers).sum::<u64>() * Dtype::F32.size() as u64
    }
}
