use std::sync::{Arc, OnceLock};

use burn::tensor::{DType, Device, Tensor};
use nanoscope_kernels::{Matrix, Order};

use crate::host_vectors::HostVectors;
use crate::weights::{GateWeights, MagnitudeWeights, SaeWeights};
use crate::{Architecture, SaeConfig, SaeError};

/// A sparse autoencoder: configuration and weights.
///
/// Also represents a transcoder, which decodes to a different activation than it encodes.
#[derive(Debug, Clone)]
pub struct Sae {
    pub(crate) w_enc: Matrix,
    pub(crate) b_enc: Tensor<1>,
    pub(crate) w_dec: Matrix,
    pub(crate) b_dec: Tensor<1>,
    pub(crate) threshold: Option<Tensor<1>>,
    pub(crate) magnitude: Option<MagnitudeWeights>,
    pub(crate) gate: Option<Gate>,
    pub(crate) w_skip: Option<Matrix>,
    /// The norms of the decoder's rows, `[d_sae]`, if features are rescaled by them.
    pub(crate) dec_norm: Option<Tensor<1>>,
    /// Vectors that features are selected by, once they were used: a GPU would be waited for in every pass.
    host_vectors: Arc<OnceLock<HostVectors>>,
    /// The [`landmarks`](Self::landmarks) before the matrices were rounded.
    pub(crate) unrounded: Option<Arc<[u32]>>,
    config: SaeConfig,
}

#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) w_gate: Matrix,
    pub(crate) b_gate: Tensor<1>,
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
        let dec_norm = rescaled.then(|| row_norms(weights.w_dec.clone()));
        Ok(Self {
            w_enc: Matrix::Device(weights.w_enc),
            b_enc: weights.b_enc,
            w_dec: Matrix::Device(weights.w_dec),
            b_dec: weights.b_dec,
            threshold: weights.threshold,
            magnitude: weights.magnitude,
            gate: weights
                .gate
                .map(|gate| Gate { w_gate: Matrix::Device(gate.w_gate), b_gate: gate.b_gate }),
            w_skip: weights.w_skip.map(Matrix::Device),
            dec_norm,
            host_vectors: Arc::default(),
            unrounded: None,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SaeConfig {
        &self.config
    }

    /// The device of the weights, on which the results of a computation are.
    pub fn device(&self) -> Device {
        self.b_dec.device()
    }

    /// The type of the matrices' numbers.
    pub fn dtype(&self) -> DType {
        self.w_enc.dtype()
    }

    /// The vectors that features are selected by. Waits for the device once in the life of the SAE.
    pub(crate) fn host_vectors(&self) -> &HostVectors {
        self.host_vectors.get_or_init(|| HostVectors::read(self))
    }

    /// The norm of each feature's row of `W_dec`, in float32.
    ///
    /// # Shapes
    /// - output: `[d_sae]`
    pub fn decoder_norms(&self) -> Tensor<1> {
        self.dec_norm.clone().unwrap_or_else(|| match &self.w_dec {
            Matrix::Device(w_dec) => row_norms(w_dec.clone()),
            Matrix::Host(_) => row_norms(self.w_dec.to_tensor(&self.device())),
        })
    }

    /// Rounds the matrices to `dtype`, in which they take less memory: 16 bits, or [`DType::I8`] with a factor
    /// for each feature, which are in the host's memory. Computations with them are still in float32.
    pub fn with_matrices_as(self, dtype: DType) -> Self {
        let others = self.gate.iter().map(|gate| &gate.w_gate).chain(&self.w_skip);
        if [&self.w_enc, &self.w_dec].into_iter().chain(others).all(|of| of.dtype() == dtype) {
            return self;
        }
        let device = self.device();
        let unrounded = Some(self.landmarks());
        let cast = |matrix: Matrix, order: Order| {
            if matrix.dtype() == dtype {
                matrix
            } else if dtype == DType::I8 {
                matrix.quantized(order)
            } else {
                Matrix::Device(tensor(&matrix, &device).cast(dtype))
            }
        };
        let Self { w_enc, w_dec, gate, w_skip, .. } = self;
        Self {
            w_enc: cast(w_enc, Order::ByOutput),
            w_dec: cast(w_dec, Order::ByInput),
            gate: gate.map(|gate| Gate { w_gate: cast(gate.w_gate, Order::ByOutput), ..gate }),
            w_skip: w_skip.map(|w_skip| cast(w_skip, Order::ByOutput)),
            unrounded,
            ..self
        }
    }

    /// The weights, as handles to the same memory; matrices of 8 bits are converted to float32.
    pub fn weights(&self) -> SaeWeights {
        let device = self.device();
        let tensor = |matrix: &Matrix| tensor(matrix, &device);
        SaeWeights {
            threshold: self.threshold.clone(),
            magnitude: self.magnitude.clone(),
            gate: self.gate.as_ref().map(|gate| GateWeights {
                w_gate: tensor(&gate.w_gate),
                b_gate: gate.b_gate.clone(),
            }),
            w_skip: self.w_skip.as_ref().map(tensor),
            ..SaeWeights::new(
                tensor(&self.w_enc),
                self.b_enc.clone(),
                tensor(&self.w_dec),
                self.b_dec.clone(),
            )
        }
    }
}

/// The numbers of a matrix as a tensor: a handle to the same memory, or float32 on `device`.
fn tensor(matrix: &Matrix, device: &Device) -> Tensor<2> {
    match matrix {
        Matrix::Device(matrix) => matrix.clone(),
        Matrix::Host(_) => matrix.to_tensor(device),
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
