use burn::tensor::{Int, Tensor, TensorData};

use crate::config::Architecture;
use crate::encoding::Encoding;
use crate::{Sae, SaeError, SparseFeatures};

/// The number of products that are on the host at a time: 16 MB, however many rows are encoded.
const PRODUCTS_AT_ONCE: usize = 1 << 22;

impl Sae {
    /// Encodes activations to features, zeros included, on the activations' device.
    ///
    /// The result is [`encode_sparse`](Self::encode_sparse) in dense form. It goes through the host, so
    /// no gradient passes through it.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_sae]`
    ///
    /// # Errors
    /// As [`encode_sparse`](Self::encode_sparse).
    ///
    /// # Panics
    /// If `x` does not have `d_in` columns.
    pub fn encode(&self, x: Tensor<2>) -> Result<Tensor<2>, SaeError> {
        let device = x.device();
        let features = self.encode_sparse(x)?;
        let shape = [features.rows(), features.d_sae()];
        Ok(Tensor::from_data(TensorData::new(features.to_dense(), shape), &device))
    }

    /// Encodes activations to their active features, on the host.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    ///
    /// # Errors
    /// [`SaeError::NotFinite`] if a pre-activation is NaN or infinite, because an activation or a weight
    /// is or because a number became too large for float32. A comparison with NaN is false, so that such
    /// a row would look as if nothing fired.
    ///
    /// # Panics
    /// If `x` does not have `d_in` columns.
    pub fn encode_sparse(&self, x: Tensor<2>) -> Result<SparseFeatures, SaeError> {
        let x = self.encoder_input(x);
        let (d_sae, [rows, _]) = (self.config().d_sae(), x.dims());
        let at_once = (PRODUCTS_AT_ONCE / d_sae).max(1);
        if rows <= at_once {
            return self.encode_input(x).finish();
        }
        let mut features = SparseFeatures::new(d_sae);
        for from in (0..rows).step_by(at_once) {
            let part = x.clone().slice_dim(0, from..(from + at_once).min(rows));
            let part = self.encode_input(part).finish();
            features.append(&part.map_err(|error| in_rows_from(error, from))?);
        }
        Ok(features)
    }

    /// Begins to encode activations, without waiting for the device where the architecture allows. All
    /// products of the rows are held until the features are selected, so a caller bounds them.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    ///
    /// # Panics
    /// If `x` does not have `d_in` columns.
    pub fn begin_encoding(&self, x: Tensor<2>) -> Encoding<'_> {
        self.encode_input(self.encoder_input(x))
    }

    /// Begins to encode `x̃`, `[rows, d_in]`.
    fn encode_input(&self, x: Tensor<2>) -> Encoding<'_> {
        match (self.config().architecture(), &self.gate) {
            (
                Architecture::MatchingPursuit {
                    residual_threshold,
                    max_iterations,
                    stop_on_duplicate_support,
                },
                _,
            ) => Encoding::done(self.pursue(
                x,
                residual_threshold,
                max_iterations,
                stop_on_duplicate_support,
            )),
            (Architecture::SignedGated, Some(gate)) => {
                let gates = gate.w_gate.multiply(x.clone());
                Encoding::of(self, vec![self.w_enc.multiply(x), gates])
            }
            _ => Encoding::of(self, vec![self.w_enc.multiply(x)]),
        }
    }

    /// Computes the pre-activations of `features`: the numbers from which the architecture selects, which
    /// are a feature's value where it is active. A gradient passes through them.
    ///
    /// With rescaling by the decoder's norms they are rescaled; of a gated SAE they are the magnitudes; of
    /// matching pursuit the scores of the first iteration.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, features]`
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`] for the first that is out of range.
    ///
    /// # Panics
    /// If `x` does not have `d_in` columns.
    pub fn pre_activations_of(
        &self,
        x: Tensor<2>,
        features: &[usize],
    ) -> Result<Tensor<2>, SaeError> {
        for &feature in features {
            self.config().check_feature(feature)?;
        }
        let ids: Vec<u32> = features.iter().map(|&feature| feature as u32).collect();
        let indices = self.indices(&ids);
        let of = |bias: &Tensor<1>| bias.clone().select(0, indices.clone()).unsqueeze();
        let w_enc = self.w_enc.transposed().rows(&ids, &indices).transpose();
        let product = self.encoder_input(x).matmul(w_enc);
        Ok(match (&self.magnitude, &self.dec_norm) {
            (Some(magnitude), _) => product * of(&magnitude.r_mag).exp() + of(&magnitude.b_mag),
            _ if matches!(self.config().architecture(), Architecture::MatchingPursuit { .. }) => {
                product
            }
            (None, Some(norms)) => (product + of(&self.b_enc)) * of(norms),
            (None, None) => product + of(&self.b_enc),
        })
    }

    /// The indices of features as a tensor on the device of the weights.
    pub(crate) fn indices(&self, features: &[u32]) -> Tensor<1, Int> {
        let indices: Vec<i32> = features.iter().map(|&feature| feature as i32).collect();
        let len = indices.len();
        Tensor::from_data(TensorData::new(indices, [len]), &self.device())
    }

    /// Computes `x̃`: the activations, normalised and minus `b_dec` if the configuration says so.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`; the output has the same shape
    fn encoder_input(&self, x: Tensor<2>) -> Tensor<2> {
        // In this order: `b_dec` is the mean of normalised activations.
        let x = self.config().normalization().forward(x);
        if self.config().apply_b_dec_to_input() { x - self.b_dec.clone().unsqueeze() } else { x }
    }
}

/// Moves the row of an error, counted from row `from`, to its row among all.
fn in_rows_from(error: SaeError, from: usize) -> SaeError {
    match error {
        SaeError::NotFinite { row, feature, found } => {
            SaeError::NotFinite { row: from + row, feature, found }
        }
        other => other,
    }
}
