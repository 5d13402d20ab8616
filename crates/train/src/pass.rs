use crate::parameters::Parameters;

/// What a batch gives: its loss, the gradients, and what fired.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) losses: Losses,
    pub(crate) gradients: Parameters,
    /// For each feature how many activations it fired at.
    pub(crate) fired: Vec<u32>,
    /// The smallest value that was kept, where features are kept by comparison.
    pub(crate) smallest: Option<f32>,
    /// `‖x − x̂‖²` of each activation.
    pub(crate) errors: Vec<f32>,
}

/// The parts of a loss, each with its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Losses {
    pub(crate) total: f64,
    pub(crate) mse: f64,
    pub(crate) sparsity: f64,
    pub(crate) aux: f64,
}
