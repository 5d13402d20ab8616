//! One SAE in training.

use std::collections::BTreeMap;

use burn::tensor::{Device, TensorData};
use nanoscope_sae::Sae;

use crate::{Recipe, TrainError};

/// An SAE in training: its weights, Adam's state, and when each feature fired last.
#[derive(Debug)]
pub struct Trainer {}

/// What one step did. Losses and norms are those of scaled activations (see [`Recipe`]).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// The step's number, from 1.
    pub step: u64,
    /// The whole loss.
    pub loss: f64,
    /// `‖x − x̂‖²`.
    pub mse: f64,
    /// The sparsity loss, with its weight.
    pub sparsity: f64,
    /// The auxiliary loss, with its weight.
    pub aux: f64,
    /// `1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²)` of the batch.
    pub explained_variance: f64,
    /// Features per activation.
    pub l0: f64,
    /// Features that are dead.
    pub dead: usize,
    /// The learning rate.
    pub lr: f64,
    /// The gradient's norm before it was clipped.
    pub grad_norm: f64,
}

/// All that a [`Trainer`] is, to be written to a file and gone on from.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Steps done.
    pub step: u64,
    /// Weights and states by name; float32 or int64.
    pub tensors: BTreeMap<String, TensorData>,
}

impl Trainer {
    /// The start of a training by `recipe`; `first` are some activations, from which the scale and
    /// `b_dec`'s start follow.
    ///
    /// # Shapes
    /// - `first`: `[rows, d_in]` row-major
    ///
    /// # Errors
    /// [`TrainError`] if the recipe cannot be followed or the activations are not finite.
    pub fn new(
        recipe: &Recipe,
        d_in: usize,
        first: &[f32],
        device: &Device,
    ) -> Result<Self, TrainError> {
        let _ = (recipe, d_in, first, device);
        todo!()
    }

    /// Goes on from `snapshot`, with the same results as if nothing had happened in between.
    ///
    /// # Errors
    /// [`TrainError`] if it is not one of a training by `recipe`.
    pub fn resume(
        recipe: &Recipe,
        snapshot: &Snapshot,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let _ = (recipe, snapshot, device);
        todo!()
    }

    /// One step with `batch` activations.
    ///
    /// # Shapes
    /// - `batch`: `[rows, d_in]` row-major, rows as many as the recipe says
    ///
    /// # Errors
    /// [`TrainError`] if the loss is not finite; the weights are then those before the step.
    pub fn step(&mut self, batch: &[f32]) -> Result<StepReport, TrainError> {
        let _ = batch;
        todo!()
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        todo!()
    }

    /// All that is needed to go on from here.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// The SAE as it is now, for inference: the scale is folded into the weights.
    pub fn sae(&self) -> Sae {
        todo!()
    }
}
