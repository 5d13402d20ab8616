//! Training of a single SAE.

use burn::tensor::{Device, Tensor};
use nanoscope_kernels::to_host;
use nanoscope_sae::Sae;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::adam::Adam;
use crate::dead_features::{LastFired, resample};
use crate::parameters::{Parameters, Weight};
use crate::pass::{self, Dense, Keep, Pass, Selected};
use crate::recipe::{Method, Recipe};
use crate::simd::square;
use crate::{TrainError, inference, init};

/// Rate at which batch-top-k's threshold follows the smallest kept value of each batch, as in
/// SAELens.
const THRESHOLD_RATE: f32 = 0.01;

/// An SAE in training: its weights, Adam's state, and the step at which each feature last fired.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) recipe: Recipe,
    pub(crate) d_in: usize,
    pub(crate) steps: u64,
    /// Factor applied to activations.
    pub(crate) scale: f32,
    /// The smallest value that batch-top-k has learned to keep.
    pub(crate) threshold: f32,
    pub(crate) parameters: Parameters,
    pub(crate) adam: Adam,
    pub(crate) fired: LastFired,
}

/// Metrics of a training step. Losses and norms refer to scaled activations (see [`Recipe`]).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// The step's number, from 1.
    pub step: u64,
    /// The total loss.
    pub loss: f64,
    /// `‖x − x̂‖²`. For matryoshka this is of all groups together, while `loss` has the mean over
    /// groups.
    pub mse: f64,
    /// The sparsity loss, weighted.
    pub sparsity: f64,
    /// The auxiliary loss, weighted.
    pub aux: f64,
    /// `1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²)` on the batch.
    pub explained_variance: f64,
    /// Features per activation.
    pub l0: f64,
    /// Number of dead features.
    pub dead: usize,
    /// The learning rate.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
}

impl Trainer {
    /// Starts training with `recipe`. The scale and the initial `b_dec` are computed from the
    /// activations `first`.
    ///
    /// # Shapes
    /// - `first`: `[rows, d_in]` row-major
    ///
    /// # Errors
    /// [`TrainError`] if the recipe is invalid, or the activations are not finite or cannot be
    /// scaled.
    ///
    /// # Panics
    /// If the last row of `first` is incomplete.
    pub fn new(
        recipe: &Recipe,
        d_in: usize,
        first: &[f32],
        device: &Device,
    ) -> Result<Self, TrainError> {
        recipe.check(d_in)?;
        assert!(first.len().is_multiple_of(d_in), "rows of {d_in}");
        if first.is_empty() {
            return Err(TrainError::Activations("there are no activations to initialise from"));
        }
        if !first.iter().all(|number| number.is_finite()) {
            return Err(TrainError::Activations(
                "the activations to initialise from are not all finite",
            ));
        }
        if first.iter().all(|number| *number == 0.0) {
            return Err(TrainError::Activations("the activations to initialise from are all zero"));
        }
        let scale = init::scale(first, d_in);
        if !scale.is_normal() {
            return Err(TrainError::Activations(
                "the activations to initialise from are too small or too large to be scaled",
            ));
        }
        let scaled: Vec<f32> = first.iter().map(|number| number * scale).collect();
        let parameters = init::parameters(recipe, d_in, &scaled, device);
        Ok(Self {
            d_in,
            steps: 0,
            scale,
            threshold: 0.0,
            adam: Adam::new(&parameters),
            parameters,
            fired: LastFired::new(recipe.d_sae),
            recipe: recipe.clone(),
        })
    }

    /// Trains for one step on `batch`.
    ///
    /// # Shapes
    /// - `batch`: `[rows, d_in]` row-major, with the recipe's number of rows
    ///
    /// # Errors
    /// [`TrainError`] if the loss is not finite; the weights are then unchanged.
    pub fn step(&mut self, batch: &[f32]) -> Result<StepReport, TrainError> {
        let expected = self.recipe.batch * self.d_in;
        if batch.len() != expected {
            return Err(TrainError::Batch { expected, found: batch.len() });
        }
        let x: Vec<f32> = batch.iter().map(|number| number * self.scale).collect();
        let step = self.steps + 1;
        let dead = self.fired.dead(self.steps, self.recipe.window_steps());
        let pass = self.pass(&x, &dead);

        let gradients = self.without_norm_changes(pass.gradients);
        let grad_norm = norm(&gradients);
        let loss = pass.losses.total;
        if !(loss.is_finite() && grad_norm.is_finite()) {
            return Err(TrainError::Diverged { step, loss, grad_norm });
        }
        let clip = self.recipe.optimizer.clip;
        let gradients = if clip > 0.0 && grad_norm > clip {
            gradients.map(|_, gradient| gradient.mul_scalar(clip / grad_norm))
        } else {
            gradients
        };
        let lr = self.recipe.learning_rate(self.steps);
        let parameters = std::mem::take(&mut self.parameters);
        self.parameters = self.adam.step(&self.recipe.optimizer, lr, step, parameters, gradients);
        if self.recipe.method.keeps_decoder_norm() {
            let decoder = self.parameters.get(Weight::Decoder);
            self.parameters.set(Weight::Decoder, unit_rows(decoder));
        }
        if let Some(smallest) = pass.smallest {
            let rate = if self.steps == 0 { 1.0 } else { THRESHOLD_RATE };
            self.threshold += rate * (smallest - self.threshold);
        }
        self.fired.note(step, &pass.fired);
        self.steps = step;
        self.revive(&x, &pass.errors);

        let rows = self.recipe.batch as f64;
        Ok(StepReport {
            step,
            loss,
            mse: pass.losses.mse,
            sparsity: pass.losses.sparsity,
            aux: pass.losses.aux,
            explained_variance: 1.0 - pass.losses.mse / variance(&x, self.d_in),
            l0: pass.fired.iter().map(|&count| f64::from(count)).sum::<f64>() / rows,
            dead: dead.len(),
            lr,
            grad_norm,
        })
    }

    /// Number of completed steps.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The training recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Returns the current SAE for inference, with the scale folded into the weights.
    pub fn sae(&self) -> Sae {
        inference::sae(&self.recipe.method, &self.parameters, self.scale, self.threshold)
    }

    fn pass(&self, x: &[f32], dead: &[u32]) -> Pass {
        let weight = self.recipe.sparsity_weight(self.steps);
        let groups = self.recipe.method.groups(self.recipe.d_sae);
        let selected =
            |keep, aux_k| Selected { keep, groups: &groups, aux_k, dead }.pass(&self.parameters, x);
        let dense = |loss: Dense| pass::dense(loss, &self.parameters, x);
        match &self.recipe.method {
            Method::TopK { k, aux_k } => selected(Keep::PerRow(*k), aux_k),
            Method::BatchTopK { k, aux_k } | Method::Matryoshka { k, aux_k, .. } => {
                selected(Keep::PerBatch(*k), aux_k)
            }
            &Method::JumpRelu { target_l0, coefficient, bandwidth, .. } => {
                let weight = weight * coefficient * self.d_in as f64;
                dense(Dense::JumpRelu { weight, target_l0, bandwidth })
            }
            Method::Relu { l1, .. } => dense(Dense::Relu { l1: l1 * weight }),
            Method::Gated { l1, .. } => dense(Dense::Gated { l1: l1 * weight }),
        }
    }

    /// Removes the component of the gradient that only changes the norms of decoder rows. These are
    /// reset after each step (Bricken et al. 2023), so Adam must not accumulate it.
    fn without_norm_changes(&self, mut gradients: Parameters) -> Parameters {
        if self.recipe.method.keeps_decoder_norm() {
            let decoder = self.parameters.get(Weight::Decoder);
            let gradient = gradients.get(Weight::Decoder);
            let along = (gradient.clone() * decoder.clone()).sum_dim(1);
            gradients.set(Weight::Decoder, gradient - decoder * along);
        }
        gradients
    }

    fn revive(&mut self, x: &[f32], errors: &[f32]) {
        if !self.recipe.resamples_after(self.steps) {
            return;
        }
        let dead = self.fired.dead(self.steps, self.recipe.window_steps());
        if dead.is_empty() {
            return;
        }
        // A separate stream for each step, so that the draws do not depend on earlier ones.
        let mut random = ChaCha8Rng::seed_from_u64(self.recipe.seed);
        random.set_stream(self.steps);
        if resample(&mut self.parameters, &mut self.adam, &dead, x, errors, &mut random) {
            for feature in dead {
                self.fired.last[feature as usize] = self.steps;
            }
        }
    }
}

/// Norm of all tensors together.
fn norm(parameters: &Parameters) -> f64 {
    // Row by row: burn sums a large tensor in an order that depends on the threads.
    let squares = parameters.iter().map(|(_, tensor)| {
        let rows = to_host(tensor.clone().square().sum_dim(1));
        rows.into_iter().map(f64::from).sum::<f64>()
    });
    squares.sum::<f64>().sqrt()
}

/// Normalises the rows of `matrix`; a row of zeros stays zero.
fn unit_rows(matrix: Tensor<2>) -> Tensor<2> {
    let norms = matrix.clone().square().sum_dim(1).sqrt().clamp_min(f32::MIN_POSITIVE);
    matrix / norms
}

/// `E‖x‖² − ‖E x‖²` of the rows, always above 0.
///
/// # Shapes
/// - `x`: `[rows, d_in]` row-major
fn variance(x: &[f32], d_in: usize) -> f64 {
    let rows = (x.len() / d_in) as f64;
    let mut mean = vec![0.0_f64; d_in];
    let mut squares = 0.0;
    for row in x.chunks_exact(d_in) {
        squares += f64::from(square(row));
        for (mean, number) in mean.iter_mut().zip(row) {
            *mean += f64::from(*number);
        }
    }
    let of_mean: f64 = mean.iter().map(|sum| (sum / rows).powi(2)).sum();
    (squares / rows - of_mean).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::upload;
    use crate::{AuxK, DeadFeatures, Optimizer};

    /// Returns after which of ten steps feature 0 was resampled. The last two steps decay, feature
    /// 0 is kept from firing, and resampling is due at every second step.
    fn resampled_after(method: Method) -> Vec<u64> {
        let device = nanoscope_testing::test_device();
        let recipe = Recipe {
            batch: 3,
            dead: DeadFeatures { window_steps: Some(1), resample_steps: Some(2) },
            optimizer: Optimizer { decay_steps: Some(2), ..Optimizer::default() },
            ..Recipe::new(4, method, 10)
        };
        let x = [3.0, 4.0, -1.0, 0.5, 2.0, -7.0];
        let mut trainer = Trainer::new(&recipe, 2, &x, &device).unwrap();
        let mut after = Vec::new();
        for step in 1..=10 {
            let mut bias = to_host(trainer.parameters.get(Weight::EncoderBias));
            bias[0] = -1e3;
            trainer.parameters.set(Weight::EncoderBias, upload(bias, [1, 4], &device));
            trainer.step(&x).unwrap();
            if to_host(trainer.parameters.get(Weight::EncoderBias))[0] == 0.0 {
                after.push(step);
            }
        }
        after
    }

    #[test]
    fn the_norm_of_large_gradients_does_not_depend_on_the_number_of_threads() {
        let shape = [2100, 2048];
        let numbers = (0..shape[0] * shape[1]).map(|at| (at as f32 * 0.37).sin()).collect();
        let gradients = upload(numbers, shape, &nanoscope_testing::test_device());
        let gradients = Parameters::new([(Weight::Encoder, gradients)]);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| norm(&gradients))
        };
        assert_eq!([on(2), on(3), on(5)], [on(1); 3]);
    }

    #[test]
    fn activations_without_a_scale_are_refused_for_what_they_are() {
        let device = nanoscope_testing::test_device();
        let recipe = Recipe::new(4, Method::Relu { l1: 0.1, warmup_steps: None }, 10);
        let error = |x| Trainer::new(&recipe, 2, &[x; 4], &device).unwrap_err().to_string();

        assert_eq!(error(0.0), "the activations to initialise from are all zero");
        let expected = "the activations to initialise from are too small or too large to be scaled";
        assert_eq!(error(1e-44), expected);
        assert_eq!(error(3e38), expected);
    }

    #[test]
    fn dead_features_start_anew_up_to_where_the_rate_falls() {
        assert_eq!(resampled_after(Method::Relu { l1: 0.1, warmup_steps: None }), [2, 4, 6]);
    }

    #[test]
    fn features_that_are_selected_start_anew_too_where_that_is_asked_for() {
        let aux_k = AuxK { k: None, coefficient: 0.0 };
        assert_eq!(resampled_after(Method::TopK { k: 1, aux_k: aux_k.clone() }), [2, 4, 6]);
        assert_eq!(resampled_after(Method::Matryoshka { k: 1, groups: vec![], aux_k }), [2, 4, 6]);
    }
}
