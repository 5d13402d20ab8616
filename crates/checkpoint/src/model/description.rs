//! A model's configuration together with the names of its weights.

use std::collections::BTreeSet;

use nanoscope_transformer::{Era, GptConfig, ParamSpec};

use crate::container::{Dtype, Order, TensorSource};
use crate::error::CheckpointError;
use crate::model::weight_naming::WeightNaming;

/// Everything known about a model before its weights are read.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) source: TensorSource,
    pub(crate) naming: WeightNaming,
    pub(crate) config: GptConfig,
    pub(crate) era: Era,
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
            let name = self.naming.name(&spec);
            let in_file = match self.naming.order(&spec) {
                Order::AsStored => spec.shape,
                Order::Transposed => spec.file_shape(),
            };
            self.source.info_of_shape(&name, &in_file)?;
            expected.insert(name);
        }
        let of_model = |name: &&str| name.starts_with(self.naming.root());
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
                era: self.era,
            }),
            None => Ok(()),
        }
    }

    /// Returns the size of the weights in memory, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers = |spec: &ParamSpec| spec.shape.iter().product::<usize>() as u64;
        self.config.params().iter().map(numbers).sum::<u64>() * Dtype::F32.size() as u64
    }
}
