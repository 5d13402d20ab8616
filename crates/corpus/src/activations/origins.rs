use crate::tokens::Context;

/// Which token each row is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// The token.
    pub tokens: Vec<u32>,
    /// The document's number in the corpus.
    pub documents: Vec<u64>,
    /// The context's number in the corpus.
    pub contexts: Vec<u64>,
    /// The place in the context.
    pub positions: Vec<u32>,
}

impl Origins {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
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
