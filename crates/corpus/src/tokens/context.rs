/// Consecutive tokens of a corpus that the model processes as one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The context's number in the corpus, from 0.
    pub index: u64,
    /// Token ids. Documents are concatenated, each beginning with `<|bos|>`.
    pub tokens: Vec<u32>,
    /// The document number of each token.
    pub documents: Vec<u64>,
}
