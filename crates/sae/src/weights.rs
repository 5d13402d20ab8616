use burn::tensor::Tensor;

/// The weights of a sparse autoencoder, with SAELens's names and orientation (`x · W`).
///
/// The matrices can have 16 bits; they are converted to float32 when they are used, a part at a time.
/// The vectors are float32.
#[derive(Debug, Clone)]
pub struct SaeWeights {
    /// `[d_in, d_sae]`
    pub w_enc: Tensor<2>,
    /// `[d_sae]`; for a gated SAE the bias of its gate, `b_gate`.
    pub b_enc: Tensor<1>,
    /// `[d_sae, d_out]`, a row per feature
    pub w_dec: Tensor<2>,
    /// `[d_out]`
    pub b_dec: Tensor<1>,
    /// `[d_sae]`: the threshold `θ` of a JumpReLU SAE.
    pub threshold: Option<Tensor<1>>,
    /// The magnitude weights of a gated SAE.
    pub magnitude: Option<MagnitudeWeights>,
    /// The gate weights of a signed gated SAE.
    pub gate: Option<GateWeights>,
    /// `[d_in, d_out]`: the skip connection of a transcoder.
    pub w_skip: Option<Tensor<2>>,
}

/// The magnitude path of a gated SAE, relative to its gate's weights.
#[derive(Debug, Clone)]
pub struct MagnitudeWeights {
    /// `[d_sae]`: the logarithm of the ratio of the magnitude's encoder to the gate's.
    pub r_mag: Tensor<1>,
    /// `[d_sae]`
    pub b_mag: Tensor<1>,
}

/// The gate of a signed gated SAE, which does not share weights with the encoder.
#[derive(Debug, Clone)]
pub struct GateWeights {
    /// `[d_in, d_sae]`
    pub w_gate: Tensor<2>,
    /// `[d_sae]`
    pub b_gate: Tensor<1>,
}

impl SaeWeights {
    /// Creates weights from the four that every SAE has.
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
