use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::GptError;

/// A batch of token ids: one or more rows of equal length, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    batch: usize,
}

impl TokenBatch {
    /// Creates a batch from `rows`.
    ///
    /// # Errors
    /// [`GptError::NoTokens`] if there are no rows or the rows are empty,
    /// [`GptError::RaggedRows`] if they differ in length.
    pub fn new(rows: &[Vec<u32>]) -> Result<Self, GptError> {
        let expected = rows.first().map_or(0, Vec::len);
        if expected == 0 {
            return Err(GptError::NoTokens);
        }
        for (row, ids) in rows.iter().enumerate() {
            if ids.len() != expected {
                return Err(GptError::RaggedRows { row, found: ids.len(), expected });
            }
        }
        Ok(Self { ids: rows.concat(), batch: rows.len() })
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Number of tokens per row.
    pub fn seq(&self) -> usize {
        self.ids.len() / self.batch
    }

    /// The ids of all rows, one row after the other.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The rows, each of [`seq`](Self::seq) ids.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.ids.chunks_exact(self.seq())
    }

    /// Checks that every id is below `vocab_size`.
    ///
    /// # Errors
    /// [`GptError::TokenOutOfRange`] for the first that is not.
    pub fn check(&self, vocab_size: usize) -> Result<(), GptError> {
        match self.ids.iter().position(|&id| id as usize >= vocab_size) {
            Some(at) => Err(GptError::TokenOutOfRange {
                id: self.ids[at],
                row: at / self.seq(),
                position: at % self.seq(),
                vocab_size,
            }),
            None => Ok(()),
        }
    }

    /// All ids in one row, `[batch * seq]`.
    pub(crate) fn flat(&self, device: &Device) -> Tensor<1, Int> {
        let ids: Vec<i32> = self.ids.iter().map(|&id| id as i32).collect();
        Tensor::from_data(TensorData::new(ids, [self.ids.len()]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_make_no_batch_are_errors() {
        assert_eq!(TokenBatch::new(&[]), Err(GptError::NoTokens));
        assert_eq!(TokenBatch::new(&[vec![]]), Err(GptError::NoTokens));
        assert_eq!(
            TokenBatch::new(&[vec![1, 2], vec![3]]).unwrap_err().to_string(),
            "row 1 has 1 tokens, row 0 has 2; rows must be equally long"
        );
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_named_with_its_place() {
        let tokens = TokenBatch::new(&[vec![0, 1], vec![2, 300]]).unwrap();

        assert_eq!(tokens.check(301), Ok(()));
        assert_eq!(
            tokens.check(300).unwrap_err().to_string(),
            "token id 300 at row 1, position 1 is outside the vocabulary of 300"
        );
    }
}
