use burn::tensor::{Int, Tensor, TensorData};

use crate::config::Architecture;
use crate::finite::finite;
use crate::top_k::{select, select_positive};
use crate::{Sae, SaeError, SparseFeatures};

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
        let d_sae = self.config().d_sae();
        let rectified = |value: f32| if value > 0.0 { value } else { 0.0 };
        Ok(match self.config().architecture() {
            Architecture::Relu => {
                let pre = finite(self.pre_activations(x))?;
                self.collect(pre.iter().map(|&value| rectified(value)))
            }
            Architecture::JumpRelu => {
                let pre = finite(self.pre_activations(x))?;
                let thresholds = self.thresholds();
                let jump = |(&value, &threshold): (&f32, &f32)| {
                    if value > threshold { rectified(value) } else { 0.0 }
                };
                let mut features = SparseFeatures::new(d_sae);
                for row in pre.chunks_exact(d_sae) {
                    features.push_row((0..).zip(row.iter().zip(thresholds).map(jump)));
                }
                features
            }
            Architecture::TopK { k, .. } => {
                select_positive(&finite(self.rescaled_pre_activations(x))?, d_sae, k)
            }
            Architecture::AbsTopK { k, .. } => {
                let pre = finite(self.rescaled_pre_activations(x))?;
                let magnitudes: Vec<f32> = pre.iter().map(|value| value.abs()).collect();
                let magnitudes = select(&magnitudes, d_sae, k);
                let mut features = SparseFeatures::new(d_sae);
                for (row, pre) in pre.chunks_exact(d_sae).enumerate() {
                    let signed = |(index, _): (u32, f32)| (index, pre[index as usize]);
                    features.push_row(magnitudes.row(row).map(signed));
                }
                features
            }
            Architecture::GroupMax { k } => {
                let pre = finite(self.pre_activations(x))?;
                let mut features = SparseFeatures::new(d_sae);
                for row in pre.chunks_exact(d_sae) {
                    features.push_row(group_maxima(row, d_sae / k));
                }
                features
            }
            Architecture::Gated => {
                let gate = self.pre_activations(x);
                let magnitudes = finite(self.magnitudes(gate.clone()))?;
                let gates = finite(gate)?;
                let open = |(&value, &gate): (&f32, &f32)| {
                    if gate > 0.0 { rectified(value) } else { 0.0 }
                };
                self.collect(magnitudes.iter().zip(&gates).map(open))
            }
            Architecture::SignedTopK { k } => select(&finite(self.pre_activations(x))?, d_sae, k),
            Architecture::SignedGated => {
                let gates = finite(self.gate_logits(x.clone()))?;
                let pre = finite(self.pre_activations(x))?;
                let open = |(&value, &gate): (&f32, &f32)| if gate > 0.0 { value } else { 0.0 };
                self.collect(pre.iter().zip(&gates).map(open))
            }
            Architecture::MatchingPursuit {
                residual_threshold,
                max_iterations,
                stop_on_duplicate_support,
            } => self.pursue(x, residual_threshold, max_iterations, stop_on_duplicate_support)?,
        })
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

    /// Converts rows of `d_sae` values to sparse features.
    fn collect(&self, mut values: impl ExactSizeIterator<Item = f32>) -> SparseFeatures {
        let d_sae = self.config().d_sae();
        let mut features = SparseFeatures::new(d_sae);
        for _ in 0..values.len() / d_sae {
            features.push_row((0..d_sae as u32).zip(values.by_ref()));
        }
        features
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

    /// Computes `x · W_enc + b_enc`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_sae]`
    fn pre_activations(&self, x: Tensor<2>) -> Tensor<2> {
        self.w_enc.multiply(x) + self.b_enc.clone().unsqueeze()
    }

    /// Computes [`pre_activations`](Self::pre_activations), multiplied by the norms of the decoder's
    /// rows if features are rescaled by them.
    fn rescaled_pre_activations(&self, x: Tensor<2>) -> Tensor<2> {
        let pre = self.pre_activations(x);
        match &self.dec_norm {
            Some(norms) => pre * norms.clone().unsqueeze(),
            None => pre,
        }
    }

    /// Computes `x · W_gate + b_gate`, of the shape of [`pre_activations`](Self::pre_activations).
    fn gate_logits(&self, x: Tensor<2>) -> Tensor<2> {
        let gate =
            self.gate.as_ref().expect("`new` checks that a signed gated SAE has gate weights");
        gate.w_gate.multiply(x) + gate.b_gate.clone().unsqueeze()
    }

    /// Computes `x · (W_enc · exp(r_mag)) + b_mag` from the gate's `x · W_enc + b_enc`.
    fn magnitudes(&self, gate: Tensor<2>) -> Tensor<2> {
        let magnitude =
            self.magnitude.as_ref().expect("`new` checks that a gated SAE has magnitude weights");
        let product = gate - self.b_enc.clone().unsqueeze();
        product * magnitude.r_mag.clone().exp().unsqueeze() + magnitude.b_mag.clone().unsqueeze()
    }
}

/// The largest value of each group of `row`, if it is positive; among equal values the first.
fn group_maxima(row: &[f32], group: usize) -> impl Iterator<Item = (u32, f32)> {
    row.chunks_exact(group).enumerate().filter_map(move |(at, values)| {
        let mut largest = 0;
        for index in 1..group {
            if values[index] > values[largest] {
                largest = index;
            }
        }
        (values[largest] > 0.0).then(|| ((at * group + largest) as u32, values[largest]))
    })
}
