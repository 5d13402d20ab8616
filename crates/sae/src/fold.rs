//! Folding of normalisations, biases and norms into the weights.

use burn::tensor::{DType, Tensor};
use nanoscope_kernels::multiply;

use crate::config::{Architecture, Normalization};
use crate::decoder::clamp_norms;
use crate::sae::{check_shape, row_norms};
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
        let project = |w: Tensor<2>| multiply(b_dec.clone(), &w).squeeze_dim::<1>(0);
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

    /// Folds an affine map of the activations into the weights. The SAE, which takes
    /// `(x − mean) · matrix`, becomes one that takes `x` and computes the same features, and whose
    /// reconstruction is `z · inverse + mean` where `z` was the old one. SAELens's
    /// `fold_activation_whitening`; the map is from arXiv:2511.13981. A rescaling by the decoder's norms
    /// is folded too, because it would change.
    ///
    /// # Shapes
    /// - `mean`: `[d_in]`
    /// - `matrix` and `inverse`, of each other: `[d_in, d_in]`
    ///
    /// # Errors
    /// [`SaeError::Fold`] for a transcoder, whose output is another activation, and for an SAE that also
    /// normalises; [`SaeError::ShapeMismatch`].
    pub fn fold_whitening(
        &self,
        mean: Tensor<1>,
        matrix: Tensor<2>,
        inverse: Tensor<2>,
    ) -> Result<Self, SaeError> {
        let config = self.config();
        let d_in = config.d_in();
        check_shape("mean", mean.dims(), [d_in])?;
        check_shape("matrix", matrix.dims(), [d_in, d_in])?;
        check_shape("inverse", inverse.dims(), [d_in, d_in])?;
        let refused = |reason| SaeError::Fold {
            what: "a whitening",
            architecture: config.architecture().name(),
            reason,
        };
        if config.skip() || config.is_transcoder() {
            return Err(refused("a transcoder writes another activation than it reads"));
        }
        if config.normalization() != Normalization::None {
            return Err(refused("the activations are normalised, too"));
        }
        if matches!(config.architecture(), Architecture::MatchingPursuit { .. }) {
            return Err(refused("its encoder is its decoder"));
        }
        if self.dec_norm.is_some() {
            return self.fold_w_dec_norm()?.fold_whitening(mean, matrix, inverse);
        }
        let weights = self.weights();
        let mean = mean.unsqueeze::<2>();
        let whitened = |w: Tensor<2>| multiply(matrix.clone(), &w);
        let weights = SaeWeights {
            w_enc: whitened(weights.w_enc),
            gate: weights.gate.map(|gate| GateWeights { w_gate: whitened(gate.w_gate), ..gate }),
            ..weights
        };
        // With `b_dec` the mean is subtracted from the input. Otherwise it moves into the biases.
        let offset = |w: &Tensor<2>| multiply(mean.clone(), w).squeeze_dim::<1>(0);
        let weights = if config.apply_b_dec_to_input() {
            weights
        } else {
            let shift = offset(&weights.w_enc);
            SaeWeights {
                b_enc: weights.b_enc - shift.clone(),
                magnitude: weights.magnitude.map(|magnitude| MagnitudeWeights {
                    b_mag: magnitude.b_mag - shift * magnitude.r_mag.clone().exp(),
                    ..magnitude
                }),
                gate: weights
                    .gate
                    .map(|gate| GateWeights { b_gate: gate.b_gate - offset(&gate.w_gate), ..gate }),
                ..weights
            }
        };
        let b_dec = multiply(weights.b_dec.unsqueeze::<2>(), &inverse) + mean;
        let weights = SaeWeights {
            w_dec: multiply(weights.w_dec.cast(DType::F32), &inverse),
            b_dec: b_dec.squeeze_dim(0),
            ..weights
        };
        Self::new(config.clone(), weights)
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

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::SaeConfig;

    const D_IN: usize = 4;
    const D_SAE: usize = 6;

    fn matrix(rows: usize, columns: usize, seed: f32) -> Tensor<2> {
        let values: Vec<f32> =
            (0..rows * columns).map(|at| ((at as f32 + 1.0) * seed).sin()).collect();
        let data = TensorData::new(values, [rows, columns]);
        Tensor::from_data(data, &nanoscope_testing::test_device())
    }

    fn vector(len: usize, seed: f32) -> Tensor<1> {
        matrix(1, len, seed).squeeze_dim(0)
    }

    fn saes() -> Vec<Sae> {
        let rescaled = Architecture::TopK { k: 2, rescale_acts_by_decoder_norm: true };
        let kept = Architecture::TopK { k: 2, rescale_acts_by_decoder_norm: false };
        let mut saes = Vec::new();
        for architecture in [
            Architecture::Relu,
            Architecture::JumpRelu,
            Architecture::Gated,
            Architecture::SignedGated,
            kept,
            rescaled,
            Architecture::AbsTopK { k: 2, rescale_acts_by_decoder_norm: true },
        ] {
            for apply in [false, true] {
                let config = SaeConfig::new(D_IN, D_SAE, architecture).unwrap();
                let config = config.with_apply_b_dec_to_input(apply).unwrap();
                let mut weights = SaeWeights::new(
                    matrix(D_IN, D_SAE, 1.3),
                    vector(D_SAE, 0.7),
                    matrix(D_SAE, D_IN, 2.1),
                    vector(D_IN, 0.9),
                );
                if architecture == Architecture::JumpRelu {
                    weights.threshold = Some(vector(D_SAE, 0.4).abs());
                }
                if architecture == Architecture::Gated {
                    let (r_mag, b_mag) = (vector(D_SAE, 0.3), vector(D_SAE, 1.9));
                    weights.magnitude = Some(MagnitudeWeights { r_mag, b_mag });
                }
                if architecture == Architecture::SignedGated {
                    let (w_gate, b_gate) = (matrix(D_IN, D_SAE, 0.8), vector(D_SAE, 1.1));
                    weights.gate = Some(GateWeights { w_gate, b_gate });
                }
                saes.push(Sae::new(config, weights).unwrap());
            }
        }
        saes
    }

    #[track_caller]
    fn assert_close(what: &str, found: Tensor<2>, expected: Tensor<2>) {
        let off = (found - expected).abs().max().into_scalar::<f32>();
        assert!(off < 2e-5, "{what}: off by {off}");
    }

    #[test]
    fn a_folded_whitening_computes_what_the_sae_computes_of_whitened_activations() {
        // A permutation with scales, and its inverse.
        let device = matrix(1, 1, 1.0).device();
        let whiten = Tensor::<2>::from_data(
            [
                [0.0, 2.0, 0.0, 0.0],
                [0.0, 0.0, 0.5, 0.0],
                [4.0, 0.0, 0.0, 0.0],
                [0.0, 0.0, 0.0, -1.0],
            ],
            &device,
        );
        let inverse = Tensor::<2>::from_data(
            [
                [0.0, 0.0, 0.25, 0.0],
                [0.5, 0.0, 0.0, 0.0],
                [0.0, 2.0, 0.0, 0.0],
                [0.0, 0.0, 0.0, -1.0],
            ],
            &device,
        );
        let mean = vector(D_IN, 3.7);
        let x = matrix(5, D_IN, 0.6);
        let z = (x.clone() - mean.clone().unsqueeze()).matmul(whiten.clone());
        for sae in saes() {
            let what = format!("{:?}", sae.config());
            let folded = sae.fold_whitening(mean.clone(), whiten.clone(), inverse.clone()).unwrap();

            let features = sae.encode(z.clone()).unwrap();
            let rescaled = matches!(
                sae.config().architecture(),
                Architecture::TopK { rescale_acts_by_decoder_norm: true, .. }
            );
            assert_close(&what, folded.encode(x.clone()).unwrap(), features.clone());
            let expected =
                sae.decode(features, z.clone()).matmul(inverse.clone()) + mean.clone().unsqueeze();
            assert_close(
                &what,
                folded.decode(folded.encode(x.clone()).unwrap(), x.clone()),
                expected,
            );
            assert!(!rescaled || folded.config() != sae.config(), "{what}");
        }
    }

    #[test]
    fn a_whitening_of_another_width_or_of_a_transcoder_is_refused() {
        let whitening = |d: usize| (vector(d, 1.0), matrix(d, d, 1.0), matrix(d, d, 1.0));
        let sae = saes().remove(0);
        let (mean, matrix, inverse) = whitening(3);
        let error = sae.fold_whitening(mean, matrix, inverse).unwrap_err();
        assert!(matches!(error, SaeError::ShapeMismatch { tensor: "mean", .. }), "{error}");

        let config = || SaeConfig::new(D_IN, D_SAE, Architecture::Relu).unwrap();
        let w_skip = Some(self::matrix(D_IN, D_IN, 1.0));
        for (config, w_skip) in [(config().with_skip(), w_skip), (config().into_transcoder(), None)]
        {
            let (mean, matrix, inverse) = whitening(D_IN);
            let weights = SaeWeights { w_skip, ..sae.weights() };
            let transcoder = Sae::new(config, weights).unwrap();
            let error = transcoder.fold_whitening(mean, matrix, inverse).unwrap_err();
            assert!(matches!(error, SaeError::Fold { what: "a whitening", .. }), "{error}");
        }
    }
}
