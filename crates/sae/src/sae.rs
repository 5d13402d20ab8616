use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{SaeConfig, SaeError, SparseFeatures};

/// The weights of a sparse autoencoder, in the field's names and orientation (`x · W`).
#[derive(Debug, Clone)]
pub struct SaeWeights {
    /// `[d_in, d_sae]`
    pub w_enc: Tensor<2>,
    /// `[d_sae]`
    pub b_enc: Tensor<1>,
    /// `[d_sae, d_in]`, a row per feature
    pub w_dec: Tensor<2>,
    /// `[d_in]`
    pub b_dec: Tensor<1>,
    /// For architectures with a gate.
    pub gate: Option<GateWeights>,
}

/// The weights of a gate.
#[derive(Debug, Clone)]
pub struct GateWeights {
    /// `[d_in, d_sae]`
    pub w_gate: Tensor<2>,
    /// `[d_sae]`
    pub b_gate: Tensor<1>,
}

/// A sparse autoencoder: its configuration and weights.
#[derive(Module, Debug)]
pub struct Sae {
    w_enc: Param<Tensor<2>>,
    b_enc: Param<Tensor<1>>,
    w_dec: Param<Tensor<2>>,
    b_dec: Param<Tensor<1>>,
    gate: Option<Gate>,
    #[module(skip)]
    config: SaeConfig,
}

#[derive(Module, Debug)]
struct Gate {
    w_gate: Param<Tensor<2>>,
    b_gate: Param<Tensor<1>>,
}

impl Sae {
    /// An SAE of these weights.
    ///
    /// # Errors
    /// [`SaeError::ShapeMismatch`] for the first weight whose shape is not what `config` says,
    /// [`SaeError::Gate`] if gate weights are missing or too many.
    pub fn new(config: SaeConfig, weights: SaeWeights) -> Result<Self, SaeError> {
        let (d_in, d_sae) = (config.d_in(), config.d_sae());
        check("W_enc", weights.w_enc.dims(), [d_in, d_sae])?;
        check("b_enc", weights.b_enc.dims(), [d_sae])?;
        check("W_dec", weights.w_dec.dims(), [d_sae, d_in])?;
        check("b_dec", weights.b_dec.dims(), [d_in])?;
        let architecture = config.architecture();
        if weights.gate.is_some() != architecture.has_gate() {
            return Err(SaeError::Gate {
                architecture: architecture.name(),
                expected: architecture.has_gate(),
            });
        }
        if let Some(gate) = &weights.gate {
            check("W_gate", gate.w_gate.dims(), [d_in, d_sae])?;
            check("b_gate", gate.b_gate.dims(), [d_sae])?;
        }
        Ok(Self {
            w_enc: Param::from_tensor(weights.w_enc),
            b_enc: Param::from_tensor(weights.b_enc),
            w_dec: Param::from_tensor(weights.w_dec),
            b_dec: Param::from_tensor(weights.b_dec),
            gate: weights.gate.map(|gate| Gate {
                w_gate: Param::from_tensor(gate.w_gate),
                b_gate: Param::from_tensor(gate.b_gate),
            }),
            config,
        })
    }

    /// The sizes and what it computes.
    pub fn config(&self) -> &SaeConfig {
        &self.config
    }

    /// The weights; handles to the same memory.
    pub fn weights(&self) -> SaeWeights {
        SaeWeights {
            w_enc: self.w_enc.val(),
            b_enc: self.b_enc.val(),
            w_dec: self.w_dec.val(),
            b_dec: self.b_dec.val(),
            gate: self
                .gate
                .as_ref()
                .map(|gate| GateWeights { w_gate: gate.w_gate.val(), b_gate: gate.b_gate.val() }),
        }
    }

    /// `x · W_enc + b_enc`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_sae]`
    pub(crate) fn pre_activations(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.w_enc.val()) + self.b_enc.val().unsqueeze()
    }

    /// `x · W_gate + b_gate`, shaped as [`pre_activations`](Self::pre_activations).
    pub(crate) fn gate_logits(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = self.gate.as_ref().expect("new checked that gated architectures have a gate");
        x.matmul(gate.w_gate.val()) + gate.b_gate.val().unsqueeze()
    }

    /// The activations that features stand for: `f · W_dec + b_dec`.
    ///
    /// # Shapes
    /// - `f`: `[rows, d_sae]`
    /// - output: `[rows, d_in]`
    ///
    /// # Panics
    /// If `f` does not have `d_sae` columns.
    pub fn decode(&self, f: Tensor<2>) -> Tensor<2> {
        f.matmul(self.w_dec.val()) + self.b_dec.val().unsqueeze()
    }

    /// As [`decode`](Self::decode), reading only the decoder rows of active features.
    ///
    /// # Shapes
    /// - output: `[rows, d_in]`
    ///
    /// # Panics
    /// If the features are not this SAE's.
    pub fn decode_sparse(&self, f: &SparseFeatures) -> Tensor<2> {
        assert_eq!(f.d_sae(), self.config.d_sae(), "features of another SAE");
        let d_in = self.config.d_in();
        let b_dec = self.b_dec.val().unsqueeze::<2>();
        let widest = (0..f.rows()).map(|row| f.row(row).count()).max().unwrap_or(0);
        if widest == 0 {
            return b_dec.expand([f.rows(), d_in]);
        }
        let rows_at_once = (GATHERED / (widest * d_in)).max(1);
        let parts: Vec<Tensor<2>> = (0..f.rows())
            .step_by(rows_at_once)
            .map(|from| self.decode_rows(f, from, (from + rows_at_once).min(f.rows()), widest))
            .collect();
        Tensor::cat(parts, 0) + b_dec
    }

    /// The rows `from..to` of `f · W_dec`, each with up to `widest` active features.
    fn decode_rows(&self, f: &SparseFeatures, from: usize, to: usize, widest: usize) -> Tensor<2> {
        let (rows, d_in) = (to - from, self.config.d_in());
        // Shorter rows are filled up with feature 0 at value 0.
        let mut indices = vec![0_i32; rows * widest];
        let mut values = vec![0.0_f32; rows * widest];
        for row in 0..rows {
            for (at, (index, value)) in f.row(from + row).enumerate() {
                indices[row * widest + at] = index as i32;
                values[row * widest + at] = value;
            }
        }
        let device = self.w_dec.val().device();
        let gathered = self.gather(indices, &device).reshape([rows, widest, d_in]);
        let values = TensorData::new(values, [rows, 1, widest]);
        Tensor::<3>::from_data(values, &device).matmul(gathered).reshape([rows, d_in])
    }

    fn gather(&self, features: Vec<i32>, device: &Device) -> Tensor<2> {
        let len = features.len();
        let features = Tensor::<1, Int>::from_data(TensorData::new(features, [len]), device);
        self.w_dec.val().select(0, features)
    }

    /// The decoder rows of `features`: the directions that they write.
    ///
    /// # Shapes
    /// - output: `[features, d_in]`
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`] for the first that is none of this SAE's.
    pub fn directions(&self, features: &[usize]) -> Result<Tensor<2>, SaeError> {
        for &feature in features {
            self.config.check_feature(feature)?;
        }
        let indices = features.iter().map(|&feature| feature as i32).collect();
        Ok(self.gather(indices, &self.w_dec.val().device()))
    }

    /// The decoder row of `feature`: the direction that it writes.
    ///
    /// # Shapes
    /// - output: `[d_in]`
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`].
    pub fn direction(&self, feature: usize) -> Result<Tensor<1>, SaeError> {
        Ok(self.directions(&[feature])?.squeeze_dim(0))
    }
}

/// Numbers of `W_dec` gathered at once while decoding: 16 MB of float32.
const GATHERED: usize = 1 << 22;

fn check<const D: usize>(
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
