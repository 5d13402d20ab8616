use crate::parameters::Parameters;

/// The results of a forward and backward pass over a batch.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) losses: Losses,
    pub(crate) gradients: Parameters,
    /// The number of activations at which each feature fired.
    pub(crate) fired: Vec<u32>,
    /// The smallest kept value, where features are selected by comparison.
    pub(crate) smallest: Option<f32>,
    /// `‖x − x̂‖²` of each activation.
    pub(crate) errors: Vec<f32>,
}

/// The terms of a loss, weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Losses {
    pub(crate) total: f64,
    pub(crate) mse: f64,
    pub(crate) sparsity: f64,
    pub(crate) aux: f64,
}

/// A loss over dense features. The weights are those of the current step, with warm-up applied.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dense {
    /// `‖x − x̂‖² + l1 · Σ f · ‖W_dec‖`
    Relu { l1: f64 },
    /// `‖x − x̂‖² + weight · (L0 / target − 1)²`
    JumpRelu { weight: f64, target_l0: f64, bandwidth: f64 },
    /// `‖x − x̂‖² + l1 · Σ relu(π) · ‖W_dec‖ + ‖x − x̂(relu(π))‖²`
    Gated { l1: f64 },
}
