use nanoscope_sae::SparseFeatures;

/// The active features of each token of a batch, strongest first.
///
/// ```
/// use nanoscope_runtime::ActiveFeatures;
/// use nanoscope_sae::SparseFeatures;
///
/// let mut features = SparseFeatures::new(4); // a batch of 2 rows with 1 position each
/// features.push_row([(0, 1.0), (3, 2.0)]);
/// features.push_row([(1, -0.5)]);
///
/// let active = ActiveFeatures::from_sparse(&features, 1, None);
/// assert_eq!((active.batch(), active.seq()), (2, 1));
/// assert_eq!(active.at(0, 0), [(3, 2.0), (0, 1.0)]);
/// assert_eq!(active.row(1), [vec![(1, -0.5)]]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveFeatures {
    seq: usize,
    /// Position `t` of row `b` is at index `b · seq + t`.
    tokens: Vec<Vec<(u32, f32)>>,
}

impl ActiveFeatures {
    /// Ranks the features of a batch of sequences of `seq` tokens. Keeps the `top_k` strongest of
    /// each token, or all of them. Row `b · seq + t` of `features` is position `t` of sequence `b`.
    ///
    /// # Panics
    /// If `seq` is 0, or the number of rows of `features` is not a multiple of it.
    pub fn from_sparse(features: &SparseFeatures, seq: usize, top_k: Option<usize>) -> Self {
        assert!(seq > 0 && features.rows().is_multiple_of(seq), "sequences of {seq} tokens");
        let top_k = top_k.unwrap_or(features.d_sae());
        let tokens = (0..features.rows()).map(|row| features.strongest(row, top_k)).collect();
        Self { seq, tokens }
    }

    /// The number of sequences in the batch.
    pub fn batch(&self) -> usize {
        self.tokens.len() / self.seq
    }

    /// The number of positions in a sequence.
    pub fn seq(&self) -> usize {
        self.seq
    }

    /// The `(feature, activation)` pairs at `position` of `row`.
    ///
    /// # Panics
    /// If `row` or `position` is out of range.
    pub fn at(&self, row: usize, position: usize) -> &[(u32, f32)] {
        &self.row(row)[position]
    }

    /// The `(feature, activation)` pairs of each position of `row`.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn row(&self, row: usize) -> &[Vec<(u32, f32)>] {
        &self.tokens[row * self.seq..(row + 1) * self.seq]
    }

    /// Iterates over the tokens as `(row, position, pairs)`, row by row.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, &[(u32, f32)])> {
        let place = |at| (at / self.seq, at % self.seq);
        self.tokens.iter().enumerate().map(move |(at, pairs)| {
            let (row, position) = place(at);
            (row, position, pairs.as_slice())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of 2 rows with 2 positions each.
    fn batch() -> SparseFeatures {
        let mut features = SparseFeatures::new(5);
        features.push_row([(0, 1.0), (2, 3.0), (4, -4.0)]);
        features.push_row([]);
        features.push_row([(1, 0.5), (3, 0.5)]);
        features.push_row([(4, 7.0)]);
        features
    }

    #[test]
    fn each_token_is_found_by_its_row_and_position() {
        let active = ActiveFeatures::from_sparse(&batch(), 2, None);

        assert_eq!((active.batch(), active.seq()), (2, 2));
        assert_eq!(active.at(0, 0), [(2, 3.0), (0, 1.0), (4, -4.0)]);
        assert_eq!(active.at(0, 1), []);
        assert_eq!(active.at(1, 0), [(1, 0.5), (3, 0.5)]);
        assert_eq!(active.row(1), [vec![(1, 0.5), (3, 0.5)], vec![(4, 7.0)]]);
        let places: Vec<_> = active.iter().map(|(row, position, _)| (row, position)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    }

    #[test]
    fn top_k_keeps_the_largest_and_may_exceed_what_is_active() {
        let active = |top_k| ActiveFeatures::from_sparse(&batch(), 2, Some(top_k));

        assert_eq!(active(2).at(0, 0), [(2, 3.0), (0, 1.0)]);
        assert_eq!(active(2).at(1, 1), [(4, 7.0)]);
        assert_eq!(active(9), ActiveFeatures::from_sparse(&batch(), 2, None));
        assert!(active(0).iter().all(|(_, _, pairs)| pairs.is_empty()));
    }

    #[test]
    #[should_panic(expected = "sequences of 3 tokens")]
    fn tokens_that_do_not_fill_the_rows_panic() {
        ActiveFeatures::from_sparse(&batch(), 3, None);
    }
}
