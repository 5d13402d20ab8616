/// Consecutive tokens of a corpus that a model sees at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Its number in the corpus, from 0.
    pub index: u64,
    /// The tokens' ids, documents one after another, `<|bos|>` before each.
    pub tokens: Vec<u32>,
    /// For each token the number of the document that it is from.
    pub documents: Vec<u64>,
}
