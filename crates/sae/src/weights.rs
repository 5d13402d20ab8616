use burn::tensor::Tensor;

/// The weights of a sparse autoencoder, in the field's names and orientation (`x · W`).
///
/// The matrices may be of 16 bits: they are made float32 as they are used, a part at a time. The
/// vectors are float32.
#[derive(Debug, Clone)]
pub struct SaeWeights {
    /// `[d_in, d_sae]`
    pub w_enc: Tensor<2>,
    /// `[d_sae]`; of a gated SAE the bias of its gate, `b_gate`.
    pub b_enc: Tensor<1>,
    /// `[d_sae, d_out]`, a row per feature
    pub w_dec: Tensor<2>,
    /// `[d_out]`
    pub b_dec: Tensor<1>,
    /// `[d_sae]`: `θ` of a JumpReLU SAE.
    pub threshold: Option<Tensor<1>>,
    /// Of a gated SAE.
    pub magnitude: Option<MagnitudeWeights>,
    /// Of a signed gated SAE.
    pub gate: Option<GateWeights>,
    /// `[d_in, d_out]`: the skip connection of a transcoder.
    pub w_skip: Option<Tensor<2>>,
}

/// What makes the magnitudes of a gated SAE of its gate's weights.
#[derive(Debug, Clone)]
pub struct MagnitudeWeights {
    /// `[d_sae]`: the logarithm of the magnitude's encoder over the gate's.
    pub r_mag: Tensor<1>,
    /// `[d_sae]`
    pub b_mag: Tensor<1>,
}

/// The weights of the gate of a signed gated SAE, which are its own.
#[derive(Debug, Clone)]
pub struct GateWeights {
    /// `[d_in, d_sae]`
    pub w_gate: Tensor<2>,
    /// `[d_sae]`
    pub b_gate: Tensor<1>,
}

impl SaeWeights {
    /// The four weights that every SAE has.
    ///
    /// # Shapes
    /// - `w_enc`: `[d_in, d_sae]`
    /// - `b_enc`: `[d_sae]`
    /// - `w_dec`: `[d_sae, d_out]`
    /// - `b_dec`: `[d_out]`
    pub fn new(w_enc: Tensor<2>, b_enc: Tensor<1>, w_dec: Tensor<2>, b_dec: Tensor<1>) -> Self {
        let (threshold, magnitude, gate, w_skip) = (None, None, None, None);
        Self { w_enc, b_enc, w_dec, b_dec, threshold, magnitude, gate, w_skip }
    }
}
