use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};

use crate::weights::{GateWeights, MagnitudeWeights, SaeWeights};
use crate::{Architecture, SaeConfig, SaeError};

/// A sparse autoencoder: configuration and weights.
///
/// Also represents a transcoder, which decodes to a different activation than it encodes.
#[derive(Module, Debug)]
pub struct Sae {
    pub(crate) w_enc: Param<Tensor<2>>,
    pub(crate) b_enc: Param<Tensor<1>>,
    pub(crate) w_dec: Param<Tensor<2>>,
    pub(crate) b_dec: Param<Tensor<1>>,
    pub(crate) threshold: Option<Param<Tensor<1>>>,
    pub(crate) magnitude: Option<Magnitude>,
    pub(crate) gate: Option<Gate>,
    pub(crate) w_skip: Option<Param<Tensor<2>>>,
    /// The norms of the decoder's rows, `[d_sae]`, if features are rescaled by them.
    pub(crate) dec_norm: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: SaeConfig,
}

#[derive(Module, Debug)]
pub(crate) struct Magnitude {
    pub(crate) r_mag: Param<Tensor<1>>,
    pub(crate) b_mag: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
pub(crate) struct Gate {
    pub(crate) w_gate: Param<Tensor<2>>,
    pub(crate) b_gate: Param<Tensor<1>>,
}

impl Sae {
    /// Creates an SAE from a configuration and weights.
    ///
    /// # Errors
    /// [`SaeError::ShapeMismatch`] for the first weight whose shape does not match `config`,
    /// [`SaeError::Weight`] if a weight is missing or superfluous.
    pub fn new(config: SaeConfig, weights: SaeWeights) -> Result<Self, SaeError> {
        check(&config, &weights)?;
        let rescaled = config.architecture().rescales_by_decoder_norm();
        let dec_norm = rescaled.then(|| Param::from_tensor(row_norms(weights.w_dec.clone())));
        Ok(Self {
            w_enc: Param::from_tensor(weights.w_enc),
            b_enc: Param::from_tensor(weights.b_enc),
            w_dec: Param::from_tensor(weights.w_dec),
            b_dec: Param::from_tensor(weights.b_dec),
            threshold: weights.threshold.map(Param::from_tensor),
            magnitude: weights.magnitude.map(|magnitude| Magnitude {
                r_mag: Param::from_tensor(magnitude.r_mag),
                b_mag: Param::from_tensor(magnitude.b_mag),
            }),
            gate: weights.gate.map(|gate| Gate {
                w_gate: Param::from_tensor(gate.w_gate),
                b_gate: Param::from_tensor(gate.b_gate),
            }),
            w_skip: weights.w_skip.map(Param::from_tensor),
            dec_norm,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SaeConfig {
        &self.config
    }

    /// The norm of each feature's row of `W_dec`, in float32.
    ///
    /// # Shapes
    /// - output: `[d_sae]`
    pub fn decoder_norms(&self) -> Tensor<1> {
        self.dec_norm.as_ref().map_or_else(|| row_norms(self.w_dec.val()), Param::val)
    }

    /// Rounds the matrices to `dtype`; 16 bits halve the memory. Computations with them are still in
    /// float32.
    pub fn with_matrices_as(self, dtype: DType) -> Self {
        let cast = |matrix: Param<Tensor<2>>| {
            if matrix.dtype() == dtype { matrix } else { matrix.map(|matrix| matrix.cast(dtype)) }
        };
        Self {
            w_enc: cast(self.w_enc),
            w_dec: cast(self.w_dec),
            gate: self.gate.map(|gate| Gate { w_gate: cast(gate.w_gate), ..gate }),
            w_skip: self.w_skip.map(cast),
            ..self
        }
    }

    /// The weights, as handles to the same memory.
    pub fn weights(&self) -> SaeWeights {
        SaeWeights {
            threshold: self.threshold.as_ref().map(Param::val),
            magnitude: self.magnitude.as_ref().map(|magnitude| MagnitudeWeights {
                r_mag: magnitude.r_mag.val(),
                b_mag: magnitude.b_mag.val(),
            }),
            gate: self
                .gate
                .as_ref()
                .map(|gate| GateWeights { w_gate: gate.w_gate.val(), b_gate: gate.b_gate.val() }),
            w_skip: self.w_skip.as_ref().map(Param::val),
            ..SaeWeights::new(
                self.w_enc.val(),
                self.b_enc.val(),
                self.w_dec.val(),
                self.b_dec.val(),
            )
        }
    }
}

fn check(config: &SaeConfig, weights: &SaeWeights) -> Result<(), SaeError> {
    let (d_in, d_sae, d_out) = (config.d_in(), config.d_sae(), config.d_out());
    check_shape("W_enc", weights.w_enc.dims(), [d_in, d_sae])?;
    check_shape("b_enc", weights.b_enc.dims(), [d_sae])?;
    check_shape("W_dec", weights.w_dec.dims(), [d_sae, d_out])?;
    check_shape("b_dec", weights.b_dec.dims(), [d_out])?;

    let architecture = config.architecture();
    let check_present = |weight, found: bool, expected: bool| {
        if found == expected {
            Ok(())
        } else {
            Err(SaeError::Weight { architecture: architecture.name(), weight, expected })
        }
    };
    let gated = architecture == Architecture::Gated;
    let signed_gated = architecture == Architecture::SignedGated;
    let jump = architecture == Architecture::JumpRelu;
    check_present("threshold", weights.threshold.is_some(), jump)?;
    check_present("magnitude weights", weights.magnitude.is_some(), gated)?;
    check_present("gate weights", weights.gate.is_some(), signed_gated)?;
    check_present("W_skip", weights.w_skip.is_some(), config.skip())?;
    if let Some(threshold) = &weights.threshold {
        check_shape("threshold", threshold.dims(), [d_sae])?;
    }
    if let Some(magnitude) = &weights.magnitude {
        check_shape("r_mag", magnitude.r_mag.dims(), [d_sae])?;
        check_shape("b_mag", magnitude.b_mag.dims(), [d_sae])?;
    }
    if let Some(gate) = &weights.gate {
        check_shape("W_gate", gate.w_gate.dims(), [d_in, d_sae])?;
        check_shape("b_gate", gate.b_gate.dims(), [d_sae])?;
    }
    if let Some(w_skip) = &weights.w_skip {
        check_shape("W_skip", w_skip.dims(), [d_in, d_out])?;
    }
    Ok(())
}

pub(crate) fn check_shape<const D: usize>(
    tensor: &'static str,
    found: [usize; D],
    expected: [usize; D],
) -> Result<(), SaeError> {
    if found == expected {
        Ok(())
    } else {
        let (expected, found) = (expected.to_vec(), found.to_vec());
        Err(SaeError::ShapeMismatch { tensor, expected, found })
    }
}

/// Number of values of a 16-bit matrix that are converted to float32 at a time (16 MB of float32).
pub(crate) const CAST_CHUNK: usize = 1 << 22;

/// Computes the norm of each row of `matrix`, in float32.
///
/// # Shapes
/// - `matrix`: `[rows, columns]`
/// - output: `[rows]`
pub(crate) fn row_norms(matrix: Tensor<2>) -> Tensor<1> {
    let [rows, columns] = matrix.dims();
    let chunk = (CAST_CHUNK / columns).max(1);
    let parts = (0..rows).step_by(chunk).map(|from| {
        let part = matrix.clone().slice_dim(0, from..(from + chunk).min(rows));
        part.cast(DType::F32).square().sum_dim(1).sqrt().squeeze_dim(1)
    });
    Tensor::cat(parts.collect(), 0)
}
