use crate::tokens::Context;

/// The origin of each row: which token of the corpus it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Document numbers in the corpus.
    pub documents: Vec<u64>,
    /// Context numbers in the corpus.
    pub contexts: Vec<u64>,
    /// Positions in the context.
    pub positions: Vec<u32>,
}

impl Origins {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub(crate) fn push(&mut self, context: &Context, positions: &[usize]) {
        for &position in positions {
            self.tokens.push(context.tokens[position]);
            self.documents.push(context.documents[position]);
            self.contexts.push(context.index);
            self.positions.push(position as u32);
        }
    }
}
