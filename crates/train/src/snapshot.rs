//! Snapshots of a trainer.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use crate::adam::Adam;
use crate::dead_features::LastFired;
use crate::parameters::{Parameters, Weight};
use crate::recipe::{Method, Recipe};
use crate::{TrainError, Trainer};

/// The state of a [`Trainer`], from which training can resume.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Number of completed steps.
    pub step: u64,
    /// Weights and optimizer state by name; float32 or int64.
    pub tensors: BTreeMap<String, TensorData>,
}

impl Trainer {
    /// Captures the current state.
    pub fn snapshot(&self) -> Snapshot {
        let mut tensors = BTreeMap::new();
        let states = [
            ("", &self.parameters),
            ("adam.mean.", &self.adam.mean),
            ("adam.square.", &self.adam.square),
        ];
        for (prefix, state) in states {
            for (part, tensor) in state.iter() {
                tensors.insert(format!("{prefix}{}", part.name()), tensor.clone().into_data());
            }
        }
        let numbers = TensorData::new(vec![self.scale, self.threshold], [2]);
        tensors.insert(NUMBERS.to_owned(), numbers);
        let fired: Vec<i64> = self.fired.last.iter().map(|&step| step as i64).collect();
        let d_sae = fired.len();
        tensors.insert(FIRED.to_owned(), TensorData::new(fired, [d_sae]));
        Snapshot { step: self.steps, tensors }
    }

    /// Resumes from `snapshot`. The results are the same as without the interruption.
    ///
    /// # Errors
    /// [`TrainError`] if the snapshot does not match `recipe`.
    pub fn resume(
        recipe: &Recipe,
        snapshot: &Snapshot,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let d_in = match snapshot
            .tensors
            .get(Weight::DecoderBias.name())
            .map(|data| data.shape().to_vec())
        {
            Some(shape) if shape.len() == 2 && shape[0] == 1 => shape[1],
            _ => return Err(missing(Weight::DecoderBias.name(), "a row of d_in numbers")),
        };
        recipe.check(d_in)?;
        let parts = parts(&recipe.method);
        let state = |prefix: &str| -> Result<Parameters, TrainError> {
            let tensors = parts.iter().map(|&part| {
                let name = format!("{prefix}{}", part.name());
                let shape = part.shape(d_in, recipe.d_sae);
                let numbers = numbers::<f32>(snapshot, &name, &shape)?;
                Ok((part, Tensor::from_data(TensorData::new(numbers, shape), device)))
            });
            Ok(Parameters::new(tensors.collect::<Result<Vec<_>, TrainError>>()?))
        };
        let scalars = numbers::<f32>(snapshot, NUMBERS, &[2])?;
        let fired = numbers::<i64>(snapshot, FIRED, &[recipe.d_sae])?;
        let in_the_past = |&step: &i64| u64::try_from(step).is_ok_and(|step| step <= snapshot.step);
        if !fired.iter().all(in_the_past) {
            return Err(missing(FIRED, "step numbers up to the current one"));
        }
        Ok(Self {
            d_in,
            steps: snapshot.step,
            scale: scalars[0],
            threshold: scalars[1],
            parameters: state("")?,
            adam: Adam { mean: state("adam.mean.")?, square: state("adam.square.")? },
            fired: LastFired { last: fired.into_iter().map(|step| step as u64).collect() },
            recipe: recipe.clone(),
        })
    }
}

/// The scale and batch-top-k's threshold.
const NUMBERS: &str = "scale_and_threshold";
/// The last step at which each feature fired.
const FIRED: &str = "last_fired";

/// The weights that `method` trains.
fn parts(method: &Method) -> Vec<Weight> {
    let mut parts =
        vec![Weight::Encoder, Weight::EncoderBias, Weight::Decoder, Weight::DecoderBias];
    match method {
        Method::JumpRelu { .. } => parts.push(Weight::LogThreshold),
        Method::Gated { .. } => parts.extend([Weight::Magnitude, Weight::MagnitudeBias]),
        _ => {}
    }
    parts
}

fn missing(tensor: &str, expected: &str) -> TrainError {
    let found = "missing or invalid".to_owned();
    TrainError::Snapshot { tensor: tensor.to_owned(), expected: expected.to_owned(), found }
}

/// Returns the values of a tensor, checking its shape and type.
fn numbers<E: burn::tensor::Element>(
    snapshot: &Snapshot,
    name: &str,
    shape: &[usize],
) -> Result<Vec<E>, TrainError> {
    let expected = format!("{} {shape:?}", E::dtype().name());
    let wrong = |found: String| TrainError::Snapshot {
        tensor: name.to_owned(),
        expected: expected.clone(),
        found,
    };
    let data = snapshot.tensors.get(name).ok_or_else(|| wrong("missing".to_owned()))?;
    if data.dtype() != E::dtype() || data.shape()[..] != *shape {
        return Err(wrong(format!("{} {:?}", data.dtype().name(), &data.shape()[..])));
    }
    data.try_to_vec().map_err(|_| wrong("damaged".to_owned()))
}
