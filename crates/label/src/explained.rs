use crate::client::Usage;
use crate::score::Detection;

/// A feature with the explanation of a language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The feature's index.
    pub feature: u32,
    /// The share of tokens on which it fires.
    pub density: f64,
    /// The explanation: one visible line.
    pub explanation: String,
    /// The model's verdicts on excerpts that it had not seen.
    pub detection: Detection,
    /// The tokens that the endpoint counted.
    pub usage: Usage,
}
