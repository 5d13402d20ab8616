//! Folding of normalisations, biases and norms into the weights.

use burn::tensor::{DType, Tensor};

use crate::config::{Architecture, Normalization};
use crate::decoder::clamp_norms;
use crate::encoder::product;
use crate::sae::row_norms;
use crate::{GateWeights, MagnitudeWeights, Sae, SaeError, SaeWeights};

impl Sae {
    /// Scales the decoder's rows to norm 1, and each feature by the previous norm of its row.
    /// SAELens's `fold_W_dec_norm`. Rows of zeros stay zero.
    ///
    /// The matrices are float32 afterwards.
    ///
    /// # Errors
    /// [`SaeError::Fold`] if the SAE would select other features: if it keeps the `k` largest, unless
    /// it rescales them by the norms before, or takes the largest one by one.
    pub fn fold_w_dec_norm(&self) -> Result<Self, SaeError> {
        let config = self.config();
        let architecture = match config.architecture() {
            Architecture::TopK { k, rescale_acts_by_decoder_norm: true } => {
                Architecture::TopK { k, rescale_acts_by_decoder_norm: false }
            }
            Architecture::AbsTopK { k, rescale_acts_by_decoder_norm: true } => {
                Architecture::AbsTopK { k, rescale_acts_by_decoder_norm: false }
            }
            architecture
                if architecture.k().is_some()
                    || matches!(architecture, Architecture::MatchingPursuit { .. }) =>
            {
                return Err(SaeError::Fold {
                    what: "the decoder's norm",
                    architecture: architecture.name(),
                    reason: "other features would be the largest",
                });
            }
            architecture => architecture,
        };
        let weights = self.weights();
        let norms = row_norms(weights.w_dec.clone());
        // A feature with a decoder row of zeros keeps its value.
        let zero = norms.clone().equal_scalar(0.0);
        let norms = norms.mask_fill(zero, 1.0);
        let weights = SaeWeights {
            w_enc: weights.w_enc.cast(DType::F32) * norms.clone().unsqueeze(),
            b_enc: weights.b_enc * norms.clone(),
            w_dec: weights.w_dec.cast(DType::F32) / clamp_norms(norms.clone()).unsqueeze_dim(1),
            threshold: weights.threshold.map(|threshold| threshold * norms.clone()),
            magnitude: weights.magnitude.map(|magnitude| MagnitudeWeights {
                // `r_mag` is relative to `W_enc`, which has the factor already.
                b_mag: magnitude.b_mag * norms.clone(),
                ..magnitude
            }),
            ..weights
        };
        Self::new(config.clone().with_architecture(architecture), weights)
    }

    /// Moves the subtraction of `b_dec` into the encoder's biases: `b_enc − b_dec · W_enc`.
    ///
    /// # Errors
    /// [`SaeError::Fold`] if the SAE has no encoder biases.
    pub fn fold_b_dec(&self) -> Result<Self, SaeError> {
        let config = self.config().clone();
        if !config.apply_b_dec_to_input() {
            return Ok(self.clone());
        }
        if let Architecture::MatchingPursuit { .. } = config.architecture() {
            return Err(SaeError::Fold {
                what: "b_dec",
                architecture: config.architecture().name(),
                reason: "its encoder has no bias",
            });
        }
        let weights = self.weights();
        let b_dec = weights.b_dec.clone().unsqueeze::<2>();
        let project = |w: Tensor<2>| product(b_dec.clone(), w).squeeze_dim::<1>(0);
        let offset = project(weights.w_enc.clone());
        let weights = SaeWeights {
            b_enc: weights.b_enc - offset.clone(),
            magnitude: weights.magnitude.map(|magnitude| MagnitudeWeights {
                b_mag: magnitude.b_mag - offset * magnitude.r_mag.clone().exp(),
                ..magnitude
            }),
            gate: weights.gate.map(|gate| GateWeights {
                b_gate: gate.b_gate - project(gate.w_gate.clone()),
                ..gate
            }),
            ..weights
        };
        Self::new(config.with_apply_b_dec_to_input(false)?, weights)
    }

    /// Moves the `scale` of a constant normalisation into the weights. SAELens's
    /// `fold_activation_norm_scaling_factor`. A rescaling by the decoder's norms is folded too, because
    /// it would change.
    ///
    /// # Errors
    /// [`SaeError::Fold`] if the normalisation depends on the activation;
    /// [`SaeError::ResidualThreshold`] if that of matching pursuit becomes infinite.
    pub fn fold_normalization(&self) -> Result<Self, SaeError> {
        let config = self.config();
        let scale = match config.normalization() {
            Normalization::None => return Ok(self.clone()),
            Normalization::ExpectedAverageOnlyIn { scale } => scale,
            Normalization::ConstantNormRescale | Normalization::LayerNorm => {
                return Err(SaeError::Fold {
                    what: config.normalization().name(),
                    architecture: config.architecture().name(),
                    reason: "each activation is normalised by its own numbers",
                });
            }
        };
        if self.dec_norm.is_some() {
            return self.fold_w_dec_norm()?.fold_normalization();
        }
        let weights = self.weights();
        let scaled = |w: Tensor<2>| w.cast(DType::F32) * scale;
        let weights = SaeWeights {
            w_enc: scaled(weights.w_enc),
            w_dec: weights.w_dec.cast(DType::F32) / scale,
            b_dec: weights.b_dec / scale,
            gate: weights.gate.map(|gate| GateWeights { w_gate: scaled(gate.w_gate), ..gate }),
            ..weights
        };
        let architecture = match config.architecture() {
            Architecture::MatchingPursuit {
                residual_threshold,
                max_iterations,
                stop_on_duplicate_support,
            } => Architecture::MatchingPursuit {
                // The residual is no longer scaled.
                residual_threshold: finite_threshold(residual_threshold / scale)?,
                max_iterations,
                stop_on_duplicate_support,
            },
            other => other,
        };
        let config = config.clone().with_architecture(architecture);
        Self::new(config.with_normalization(Normalization::None)?, weights)
    }
}

fn finite_threshold(found: f32) -> Result<f32, SaeError> {
    if found.is_finite() { Ok(found) } else { Err(SaeError::ResidualThreshold { found }) }
}
