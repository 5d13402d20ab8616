//! Evaluates SAEs on held-out data during training.

use burn::tensor::{Device, Tensor, TensorData, activation};
use nanoscope_corpus::ActivationSource;
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_sae::{Sae, SaeError, SaeWeights, SparseFeatures};
use serde::Serialize;

use super::run_error::RunError;
use crate::Method;

/// An SAE's metrics on held-out data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// The method's loss on activations scaled to a mean norm of `√d_in`, with its sparsity loss at
    /// full weight and without auxiliary losses; for matryoshka, of all groups together. The SAE
    /// with the lowest loss is the best.
    pub loss: f64,
    /// `E‖x − x̂‖²` of the unscaled activations.
    pub mse: f64,
    /// `1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²)`.
    pub explained_variance: f64,
    /// Features per activation.
    pub l0: f64,
    /// Number of features that never fire on the held-out data.
    pub dead: usize,
    /// Number of held-out activations.
    pub rows: u64,
}

/// Maximum pre-activations computed at once: 8 MB of float32.
const CHUNK_VALUES: usize = 2 << 20;

/// Evaluates each SAE on all of `held_out`. Returns its metrics and the density of each feature.
///
/// # Errors
/// [`RunError::Validation`] if nothing is held out, everything held out is zero, or a pre-activation or
/// a loss is not finite.
pub(crate) fn validate(
    saes: &[Sae],
    method: &Method,
    held_out: &mut impl ActivationSource,
    device: &Device,
) -> Result<Vec<(Validation, Vec<f64>)>, RunError> {
    let mut sums: Vec<Sums> = saes.iter().map(Sums::new).collect();
    for segment in 0..held_out.len() {
        let rows = held_out.segment(segment)?;
        for (((sae, sums), x), &(hook, _)) in
            saes.iter().zip(&mut sums).zip(&rows.at).zip(held_out.points())
        {
            let d_in = sae.config().d_in();
            let at_once = (CHUNK_VALUES / sae.config().d_sae()).max(1) * d_in;
            for x in x.chunks(at_once) {
                sums.add(sae, method, x, device).map_err(|error| RunError::Validation {
                    hook,
                    rows: sums.rows + (x.len() / d_in) as u64,
                    reason: error.to_string(),
                })?;
            }
        }
    }
    let numbers = |(sums, &(hook, _)): (&Sums, &(HookPoint, usize))| {
        let failed = |reason| RunError::Validation { hook, rows: sums.rows, reason };
        Ok((sums.numbers(method).map_err(failed)?, sums.density()))
    };
    sums.iter().zip(held_out.points()).map(numbers).collect()
}

struct Sums {
    rows: u64,
    squared_error: f64,
    squares: f64,
    norms: f64,
    /// `Σ x`, `[d_in]`.
    x: Vec<f64>,
    /// Number of activations at which each feature fires.
    fires: Vec<u64>,
    /// `Σ f · ‖W_dec‖`, or `Σ relu(π) · ‖W_dec‖` with the gates `π` of a gated SAE, summed over all activations.
    l1: f64,
    decoder_norms: Vec<f32>,
}

impl Sums {
    fn new(sae: &Sae) -> Self {
        Self {
            rows: 0,
            squared_error: 0.0,
            squares: 0.0,
            norms: 0.0,
            x: vec![0.0; sae.config().d_in()],
            fires: vec![0; sae.config().d_sae()],
            l1: 0.0,
            decoder_norms: to_host(sae.decoder_norms()),
        }
    }

    fn add(
        &mut self,
        sae: &Sae,
        method: &Method,
        x: &[f32],
        device: &Device,
    ) -> Result<(), SaeError> {
        let d_in = self.x.len();
        let tensor =
            Tensor::<2>::from_data(TensorData::new(x.to_vec(), [x.len() / d_in, d_in]), device);
        let features = sae.encode_sparse(tensor.clone())?;
        self.add_features(&features);
        self.l1 += match method {
            Method::Gated { .. } => {
                to_host(gates(sae, tensor.clone())).into_iter().map(f64::from).sum()
            }
            _ => self.weighted_sum(&features),
        };
        let reconstructed = to_host(sae.decode_sparse(&features, tensor));
        let square = |&x: &f32| f64::from(x) * f64::from(x);
        for (x, back) in x.chunks(d_in).zip(reconstructed.chunks(d_in)) {
            self.rows += 1;
            let squares: f64 = x.iter().map(square).sum();
            self.squares += squares;
            self.norms += squares.sqrt();
            for (sum, &x) in self.x.iter_mut().zip(x) {
                *sum += f64::from(x);
            }
            let error = |(&x, &back): (&f32, &f32)| (f64::from(x) - f64::from(back)).powi(2);
            self.squared_error += x.iter().zip(back).map(error).sum::<f64>();
        }
        Ok(())
    }

    fn add_features(&mut self, features: &SparseFeatures) {
        for &feature in features.csr().1 {
            self.fires[feature as usize] += 1;
        }
    }

    /// `Σ f · ‖W_dec‖`
    fn weighted_sum(&self, features: &SparseFeatures) -> f64 {
        let (_, indices, values) = features.csr();
        let norms = indices.iter().map(|&feature| self.decoder_norms[feature as usize]);
        norms.zip(values).map(|(norm, &value)| f64::from(value) * f64::from(norm)).sum()
    }

    fn numbers(&self, method: &Method) -> Result<Validation, String> {
        if self.norms == 0.0 {
            return Err("there are none, or all are zero".to_owned());
        }
        let rows = self.rows as f64;
        let mse = self.squared_error / rows;
        let mean_square: f64 = self.x.iter().map(|x| (x / rows).powi(2)).sum();
        let variance = (self.squares / rows - mean_square).max(f64::MIN_POSITIVE);
        let l0 = self.fires.iter().sum::<u64>() as f64 / rows;
        let scale = (self.x.len() as f64).sqrt() / (self.norms / rows);
        let sparsity = match *method {
            Method::TopK { .. } | Method::BatchTopK { .. } | Method::Matryoshka { .. } => 0.0,
            Method::JumpRelu { target_l0, coefficient, .. } => {
                coefficient * self.x.len() as f64 * (l0 / target_l0 - 1.0).powi(2)
            }
            Method::Relu { l1, .. } | Method::Gated { l1, .. } => l1 * scale * self.l1 / rows,
        };
        let loss = scale * scale * mse + sparsity;
        if !loss.is_finite() {
            return Err(format!("the loss is {loss}"));
        }
        Ok(Validation {
            loss,
            mse,
            explained_variance: 1.0 - mse / variance,
            l0,
            dead: self.fires.iter().filter(|&&fires| fires == 0).count(),
            rows: self.rows,
        })
    }

    fn density(&self) -> Vec<f64> {
        self.fires.iter().map(|&fires| fires as f64 / self.rows as f64).collect()
    }
}

/// `Σ relu(π) · ‖W_dec‖` of each row, with the gates' pre-activations `π` of a gated SAE.
///
/// # Shapes
/// - `x`: `[rows, d_in]`
/// - output: `[rows, 1]`
fn gates(sae: &Sae, x: Tensor<2>) -> Tensor<2> {
    let SaeWeights { w_enc, b_enc, b_dec, .. } = sae.weights();
    let x = if sae.config().apply_b_dec_to_input() { x - b_dec.unsqueeze() } else { x };
    let gates = x.matmul(w_enc) + b_enc.unsqueeze();
    (activation::relu(gates) * sae.decoder_norms().unsqueeze()).sum_dim(1)
}

#[cfg(test)]
mod tests {
    use nanoscope_corpus::InMemoryActivations;
    use nanoscope_sae::{Architecture, MagnitudeWeights, SaeConfig};

    use super::*;
    use crate::AuxK;

    fn validated(method: &Method) -> (Validation, Vec<f64>) {
        // (3, 4) becomes (3, 3), (4, 3) becomes (4, 2), (0, -5) becomes (0, 0).
        validated_on(vec![3.0, 4.0, 4.0, 3.0, 0.0, -5.0], method).unwrap()
    }

    fn validated_on(x: Vec<f32>, method: &Method) -> Result<(Validation, Vec<f64>), RunError> {
        validated_as(Architecture::Relu, None, x, method)
    }

    fn validated_as(
        architecture: Architecture,
        magnitude: Option<fn(&Device) -> MagnitudeWeights>,
        x: Vec<f32>,
        method: &Method,
    ) -> Result<(Validation, Vec<f64>), RunError> {
        let device = nanoscope_testing::test_device();
        let config = SaeConfig::new(2, 3, architecture).unwrap();
        let mut weights = SaeWeights::new(
            Tensor::from_floats([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]], &device),
            Tensor::from_floats([0.0, -1.0, -9.0], &device),
            Tensor::from_floats([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &device),
            Tensor::from_floats([0.0, 0.0], &device),
        );
        weights.magnitude = magnitude.map(|weights| weights(&device));
        let sae = Sae::new(config, weights).unwrap();
        let mut held_out = InMemoryActivations::new(HookPoint::ResidPost(0), 2, x, 2);
        Ok(validate(&[sae], method, &mut held_out, &device)?.remove(0))
    }

    #[test]
    fn without_a_finite_loss_there_is_an_error_that_names_the_hook_point() {
        let method = Method::TopK { k: 2, aux_k: AuxK::default() };
        let error = |x: &[f32]| validated_on(x.to_vec(), &method).unwrap_err().to_string();
        let start = "the SAE at blocks.0.hook_resid_post cannot be evaluated on the";

        let found = error(&[0.0; 4]);
        let expected = "2 held-out activations: there are none, or all are zero";
        assert_eq!(found, format!("{start} {expected}"));
        let found = error(&[1.0, 2.0, f32::INFINITY, 3.0]);
        let expected = "2 held-out activations: the pre-activation of feature 0 in row 1 is inf";
        assert!(found.starts_with(&format!("{start} {expected}")), "{found}");
    }

    #[test]
    fn the_numbers_are_those_worked_by_hand() {
        let (numbers, density) = validated(&Method::TopK { k: 2, aux_k: AuxK::default() });

        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        near(numbers.mse, (1.0 + 1.0 + 25.0) / 3.0);
        // E‖x‖² is 25, the mean is (7/3, 2/3).
        near(numbers.explained_variance, 1.0 - 9.0 / (25.0 - 53.0 / 9.0));
        near(numbers.l0, 4.0 / 3.0);
        // Norms of 5 become √2, squares are scaled by 2 / 25.
        near(numbers.loss, 9.0 * 2.0 / 25.0);
        assert_eq!((numbers.dead, numbers.rows), (1, 3));
        assert_eq!(density, [2.0 / 3.0, 2.0 / 3.0, 0.0]);
    }

    #[test]
    fn the_loss_has_the_sparsity_loss_at_full_weight() {
        let mse = 9.0 * 2.0 / 25.0;
        let relu = validated(&Method::Relu { l1: 0.5, warmup_steps: None }).0;
        let expected = mse + 0.5 * 2_f64.sqrt() / 5.0 * 12.0 / 3.0;
        assert!((relu.loss - expected).abs() < 1e-9, "{} {expected}", relu.loss);

        // Gates of (3, 3), (4, 2) and (0, 0), weighted by 1; the second magnitude is never open, but its gate costs.
        let method = Method::Gated { l1: 0.5, warmup_steps: None };
        let magnitude = |device: &Device| MagnitudeWeights {
            r_mag: Tensor::zeros([3], device),
            b_mag: Tensor::from_floats([0.0, -99.0, 0.0], device),
        };
        let x = vec![3.0, 4.0, 4.0, 3.0, 0.0, -5.0];
        let found = validated_as(Architecture::Gated, Some(magnitude), x, &method).unwrap().0;
        // (3, 4) becomes (3, 0), (4, 3) becomes (4, 0).
        let of_gated = (16.0 + 9.0 + 25.0) / 3.0 * 2.0 / 25.0;
        let expected = of_gated + 0.5 * 2_f64.sqrt() / 5.0 * 12.0 / 3.0;
        assert!((found.loss - expected).abs() < 1e-6, "{} {expected}", found.loss);

        let jump_relu = Method::JumpRelu {
            target_l0: 1.0,
            coefficient: 3.0,
            bandwidth: 0.05,
            threshold: None,
            warmup_steps: None,
        };
        let expected = mse + 3.0 * 2.0 / 9.0;
        let found = validated(&jump_relu).0.loss;
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
}
