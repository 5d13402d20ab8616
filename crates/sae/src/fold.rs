//! Moving into the weights what is done to activations and features.

use burn::tensor::{DType, Tensor};

use crate::config::{Architecture, Normalization};
use crate::decoder::at_least_tiny;
use crate::encoder::product;
use crate::sae::row_norms;
use crate::{GateWeights, MagnitudeWeights, Sae, SaeError, SaeWeights};

impl Sae {
    /// The same SAE with decoder rows of norm 1: each feature's value is multiplied by the norm
    /// that its row had. SAELens's `fold_W_dec_norm`. A row of zeros stays one.
    ///
    /// The matrices are float32 afterwards.
    ///
    /// # Errors
    /// [`SaeError::Fold`] if other features would be kept: those that are selected by comparison
    /// with each other, unless they are rescaled by the norms before.
    pub fn fold_w_dec_norm(&self) -> Result<Self, SaeError> {
        let config = self.config();
        let architecture = match config.architecture() {
            Architecture::TopK { k, rescale_acts_by_decoder_norm: true } => {
                Architecture::TopK { k, rescale_acts_by_decoder_norm: false }
            }
            architecture if architecture.k().is_some() => {
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
        // A feature that writes nothing keeps its value.
        let zero = norms.clone().equal_scalar(0.0);
        let norms = norms.mask_fill(zero, 1.0);
        let weights = SaeWeights {
            w_enc: weights.w_enc.cast(DType::F32) * norms.clone().unsqueeze(),
            b_enc: weights.b_enc * norms.clone(),
            w_dec: weights.w_dec.cast(DType::F32) / at_least_tiny(norms.clone()).unsqueeze_dim(1),
            threshold: weights.threshold.map(|threshold| threshold * norms.clone()),
            magnitude: weights.magnitude.map(|magnitude| MagnitudeWeights {
                // The encoder's norm is in `W_enc` already.
                b_mag: magnitude.b_mag * norms.clone(),
                ..magnitude
            }),
            ..weights
        };
        Self::new(config.clone().with_architecture(architecture), weights)
    }

    /// The same SAE encoding activations as they are, `b_dec` being taken off in the encoder's
    /// biases: `b_enc − b_dec · W_enc`.
    pub fn fold_b_dec(&self) -> Self {
        let config = self.config().clone();
        if !config.apply_b_dec_to_input() {
            return self.clone();
        }
        let weights = self.weights();
        let b_dec = weights.b_dec.clone().unsqueeze::<2>();
        let of = |w: Tensor<2>| product(b_dec.clone(), w).squeeze_dim::<1>(0);
        let offset = of(weights.w_enc.clone());
        let weights = SaeWeights {
            b_enc: weights.b_enc - offset.clone(),
            magnitude: weights.magnitude.map(|magnitude| MagnitudeWeights {
                b_mag: magnitude.b_mag - offset * magnitude.r_mag.clone().exp(),
                ..magnitude
            }),
            gate: weights
                .gate
                .map(|gate| GateWeights { b_gate: gate.b_gate - of(gate.w_gate.clone()), ..gate }),
            ..weights
        };
        let config = config.with_apply_b_dec_to_input(false);
        config
            .and_then(|config| Self::new(config, weights))
            .expect("only the encoder's biases have changed")
    }

    /// The same SAE without its constant normalisation: `scale` goes into the weights. SAELens's
    /// `fold_activation_norm_scaling_factor`. Features that are rescaled by the decoder's norm get
    /// that folded too, for it would change.
    ///
    /// # Errors
    /// [`SaeError::Fold`] if each activation is normalised by its own numbers.
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
        Self::new(config.clone().with_normalization(Normalization::None)?, weights)
    }
}
