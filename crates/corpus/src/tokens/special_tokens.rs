use nanoscope_tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};

use super::context::Context;

/// Treatment of special tokens, such as `<|bos|>`.
///
/// The model reads them in either case. Their activations are far larger than others and carry no
/// information about the text, so an SAE trained on them wastes features on a single token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SpecialTokens {
    /// They have no rows.
    #[default]
    #[serde(rename = "skipped")]
    Skip,
    /// They are treated like any other token.
    #[serde(rename = "kept")]
    Keep,
}

impl SpecialTokens {
    /// Returns the positions of `context` that have rows, ascending.
    pub fn positions(self, context: &Context, tokenizer: &Tokenizer) -> Vec<usize> {
        self.positions_where(&context.tokens, |id| tokenizer.is_special(id))
    }

    pub(crate) fn positions_where(self, ids: &[u32], special: impl Fn(u32) -> bool) -> Vec<usize> {
        let counts = |&at: &usize| self == Self::Keep || !special(ids[at]);
        (0..ids.len()).filter(counts).collect()
    }
}
