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
